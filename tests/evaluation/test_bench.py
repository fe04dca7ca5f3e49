"""One bench serves all tasks: nothing is embedded twice, and what is missing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from colours import colour_model, colour_table, picture, rows_run
from datasets import Dataset

from diptych.data.bad_rows import BadRows
from diptych.evaluation.bench import Bench
from diptych.evaluation.protocols import multiple_choice, out_of_distribution, retrieval, zero_shot

COLOURS = ["red", "green", "blue", "yellow"]
TEXTS = [["a red one", "red"], ["green"], ["a blue one"], ["yellow"]]


def test_all_tasks_together_run_each_tower_once_an_item():
    model = colour_model()
    negatives = [["green"], ["red"], ["red"], ["blue"]]
    bench = Bench(model, colour_table(COLOURS, text=TEXTS, label=COLOURS, negatives=negatives))
    assert len(bench.image) == 4
    pictures = rows_run(model)["image"]  # 4, and those that the precision was tried on
    retrieval.measure(bench)
    zero_shot.measure(bench, templates=["{}", "a {} one"])
    words = rows_run(model)["text"]
    multiple_choice.measure(bench)
    out_of_distribution.measure(bench, templates=["{}", "a {} one"], folds=2)
    # No picture is run again, and of texts none: captions, names and wrong texts are the same strings.
    assert rows_run(model) == {"image": pictures, "text": words}
    bench.texts(["something else"])
    assert rows_run(model)["text"] > words


def test_distinct_strings_are_embedded_once_and_asked_ones_are_known():
    model = colour_model()
    bench = Bench(model, colour_table(COLOURS, text=TEXTS))
    assert len(bench.text) == 5 and not bench.asked
    found = bench.texts(["blue", "red", "blue"]).dense
    assert torch.equal(found, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, 1]]))
    assert list(bench.asked) == ["blue", "red"]
    assert torch.equal(bench.text.dense[1], found[1])  # the caption "red"
    with pytest.raises(ValueError, match="no texts to embed"):
        bench.texts([])


def test_made_pictures_are_embedded_as_those_of_the_table():
    bench = Bench(colour_model(), colour_table(COLOURS))
    assert torch.equal(bench.images([{"bytes": picture("yellow"), "path": None}]).dense, bench.image.dense[3:])


def test_a_broken_picture_is_left_out_and_named():
    table = colour_table(COLOURS, label=COLOURS)
    broken: Any = table.to_dict()
    broken["image"][1] = {"bytes": b"no picture", "path": None}
    bad = BadRows()
    bench = Bench(colour_model(), Dataset.from_dict(broken, features=table.features), bad=bad)
    assert len(bench) == len(bench.image) == 3 and len(bad) == 1
    assert bench.labels() == ["red", "blue", "yellow"]


def test_the_training_bench_shares_the_model():
    model = colour_model()
    rows = colour_table(COLOURS, label=COLOURS)
    bench = Bench(model, rows, training_rows=lambda: rows.select([0]))
    assert len(bench.train) == 1 and bench.train.model is model
    with pytest.raises(ValueError, match="not --split all"):
        _ = Bench(model, rows).train


def test_what_is_missing_is_said(tmp_path: Path):
    bench = Bench(colour_model(), colour_table(COLOURS, label=[None] * 4), folder=tmp_path)
    with pytest.raises(ValueError, match=r"no column 'shape'.*it has"):
        bench.column("shape")
    with pytest.raises(ValueError, match="'label' names no class in any of the 4 rows"):
        bench.labels()
    with pytest.raises(ValueError, match="the table has no texts; name their column by --text-column"):
        _ = bench.text
    with pytest.raises(ValueError, match=r"no file .*items\.jsonl"):
        bench.file("items.jsonl")
    with pytest.raises(ValueError, match="no scorer 'late'; its parts are \\['dot'\\]"):
        _ = Bench(colour_model(), colour_table(COLOURS), scorer="late").scorer
    alone = Bench(colour_model(texts=False), colour_table(COLOURS, text=TEXTS))
    assert len(alone.image) == 4
    with pytest.raises(ValueError, match="no tower for texts"):
        alone.texts(["red"])
