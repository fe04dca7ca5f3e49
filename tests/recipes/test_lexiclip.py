"""Vision-free retrieval: no picture is read, captions find descriptions, and stored features do for both sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from diptych.data.descriptions import DescriptionProcessor, described_by_captions
from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.models import Towers, load
from diptych.models.embed import embed
from diptych.recipes import find_recipe
from diptych.training.recipe import Schedule
from diptych.training.run import train

SMALL = Towers(width=16, vocab_size=300, max_length=32, text_width=32, text_depth=1)


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return described_by_captions(open_table(shapes), held=1)


@pytest.mark.parametrize("freeze", ["none", "text"])
def test_captions_find_descriptions_and_the_checkpoint_says_the_same(rows: Dataset, tmp_path: Path, freeze: str):
    schedule = Schedule(epochs=8, batch_size=24, lr=3e-3, precision="float32")
    towers = replace(SMALL, freeze=freeze)
    done = train(
        lambda: find_recipe("lexiclip").recipe(towers, schedule, description_length=32),
        rows,
        tmp_path / "run",
        about={},
    )
    recall = evaluate(done.model, rows).retrieval["text_to_image"]
    assert recall.recall[5] > 2 * recall.chance[5]
    assert set(done.model.towers) == {"text"} and done.model.route("image").tower == "text"
    again = load(tmp_path / "run" / "model")
    assert done.pairs is not None
    view = done.pairs.views["image"]  # type: ignore[union-attr]
    torch.testing.assert_close(embed(again, "image", view).dense, embed(done.model, "image", view).dense)


def test_the_same_words_have_the_same_vector_on_either_side(rows: Dataset):
    torch.manual_seed(0)
    model = find_recipe("lexiclip").recipe(SMALL, description_length=32).model.eval()
    model.processors["text"].fit([text for own in rows["text"] for text in own])
    image, text = (model.encode(view, model.processors[view](["a red circle"])) for view in ("image", "text"))
    assert torch.equal(image.dense, text.dense)


def test_what_the_tower_cannot_read_is_cut_and_a_column_that_is_not_there_is_named(
    rows: Dataset, shapes: Path, tmp_path: Path
):
    processor = find_recipe("lexiclip").recipe(SMALL).model.processors["image"]
    assert isinstance(processor, DescriptionProcessor) and processor.max_length == SMALL.max_length
    schedule = Schedule(epochs=1, batch_size=24)
    with pytest.raises(ValueError, match="reads the column 'description'; the table has"):
        train(
            lambda: find_recipe("lexiclip").recipe(SMALL, schedule, description_length=32),
            open_table(shapes),
            tmp_path / "run",
            about={},
        )
