"""What heads over tokens read of each tower, and that a codebook which two heads share survives a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diptych.core import Features
from diptych.models import Towers, dual_encoder, load, readings, save, vocabulary_size
from diptych.models.checkpoint import separate
from diptych.recipes import find_recipe
from diptych.training.run import reference_inputs

SMALL = Towers(image_size=16, widths=(8, 12), depths=(1, 1), text_width=16, text_depth=1, vocab_size=300, width=8)


def test_trained_towers_give_tokens_and_frozen_ones_their_pooled_features():
    model = dual_encoder(SMALL, parts={})
    read = readings(model)
    assert (read["image"].width, read["image"].pooled) == (12, False)  # the last stage's channels
    assert (read["text"].width, read["text"].pooled) == (16, False)
    frozen = readings(dual_encoder(replace(SMALL, freeze="image"), parts={}))
    assert (frozen["image"].width, frozen["image"].pooled) == (12 * 16, True)  # averages of 4 x 4 places
    assert frozen["text"] == read["text"] and vocabulary_size(model) == 300


def test_separate_tensors_share_no_memory_and_keep_their_values():
    x = torch.arange(6.0)
    out = separate({"a": x, "b": x[2:], "c": x})
    assert len({tensor.untyped_storage().data_ptr() for tensor in out.values()}) == 3
    assert out["b"].tolist() == [2, 3, 4, 5] and torch.equal(out["c"], x) and out["a"].data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", ["fdt", "vdr", "lexlip"])
def test_models_of_the_lexical_family_come_back_from_a_checkpoint(name: str, tmp_path: Path):
    torch.manual_seed(0)
    model = find_recipe(name).recipe(SMALL).model.eval()
    model.processors["text"].fit(["a red dog", "a blue cat"])
    save(model, tmp_path / "model", reference=reference_inputs(model))
    again = load(tmp_path / "model")
    inputs = model.processors["text"](["a blue dog", "cat"])
    before, after = model.encode("text", inputs), again.encode("text", inputs)
    assert before.vectors.keys() == after.vectors.keys()
    for space, vector in before.vectors.items():
        torch.testing.assert_close(after.vectors[space], vector)


def test_a_frozen_towers_stored_features_give_what_its_pixels_give():
    model = find_recipe("lexlip").recipe(replace(SMALL, freeze="image")).model.eval()
    pixels = torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    features = model.features("image", {"pixels": pixels})
    assert features.tokens is not None
    stored = model.heads["image"]["lexical"](Features(features.pooled))  # type: ignore[index]
    torch.testing.assert_close(model.encode("image", {"pixels": pixels}).vectors["lexical"], stored)
