"""Whatever samples the batches, a run that was interrupted in the middle of an epoch goes on exactly."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from safetensors.numpy import load_file

from diptych.data.sources import open_table
from diptych.models import Towers
from diptych.recipes import find_recipe
from diptych.training.fit import Progress
from diptych.training.interrupt import Interrupted
from diptych.training.journal import read_log
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import Listener, train
from diptych.training.sampling import Sampling

WAYS = [
    Sampling(bucket=2),
    Sampling(balance="shape"),
    Sampling(curriculum="number", curriculum_low_first=True),
    Sampling(hard_negatives=4, hard_negatives_every=2),
]


def recipe(sampling: Sampling) -> Recipe:
    towers = Towers(image_size=16, widths=(8,), depths=(1,), text_width=16, text_depth=1, width=8, vocab_size=300)
    schedule = Schedule(epochs=4, batch_size=24, lr=3e-3, precision="float32")
    return find_recipe("clip").recipe(towers, schedule, sampling)


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


@pytest.mark.parametrize("sampling", WAYS, ids=lambda way: type(way.sampler()).__name__)
def test_an_interrupted_epoch_goes_on_with_the_same_batches(rows: Dataset, tmp_path: Path, sampling: Sampling):
    def interrupt(progress: Progress) -> None:
        if progress.step == 7:
            signal.raise_signal(signal.SIGINT)

    about = {"sampling": repr(sampling)}
    train(partial(recipe, sampling), rows, tmp_path / "whole", about=about)
    broken = partial(train, partial(recipe, sampling), rows, tmp_path / "broken", about=about)
    with pytest.raises(Interrupted):
        broken(listener=Listener(steps=interrupt))
    broken()
    whole, again = ([line["loss"] for line in read_log(tmp_path / run)] for run in ("whole", "broken"))
    assert whole == again
    # 72 rows in batches of 24; a curriculum has 15, 44, 72 and 72 of them (a fifth, three fifths, all).
    assert len(whole) == (1 + 2 + 3 + 3 if sampling.curriculum else 12)
    fingerprints = [json.loads((tmp_path / run / "run.json").read_text())["fingerprint"] for run in ("whole", "broken")]
    assert fingerprints[0] == fingerprints[1]


def test_embeddings_are_surveyed_as_often_as_asked(rows: Dataset, tmp_path: Path):
    kept: dict[str, np.ndarray] = {}

    def look(progress: Progress) -> None:
        for file in (tmp_path / "run" / "surveys").glob("*/columns.safetensors"):
            kept[file.parent.name.rsplit("-", 1)[1]] = load_file(file)["embedding"]

    train(partial(recipe, WAYS[3]), rows, tmp_path / "run", about={}, listener=Listener(steps=look))
    assert sorted(kept) == ["0", "2"]
    assert kept["0"].shape == (72, 8) and np.abs(kept["0"] - kept["2"]).max() > 0.1


def test_a_column_that_is_not_there_is_named_before_training(rows: Dataset, tmp_path: Path):
    with pytest.raises(ValueError, match=r"reads the columns \['sort'\]; the table has"):
        train(partial(recipe, Sampling(balance="sort")), rows, tmp_path / "run", about={})
