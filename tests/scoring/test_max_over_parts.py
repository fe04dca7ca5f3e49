"""MaxOverParts against a loop over texts, images and parts; and it is LateInteraction where the text asks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from token_cases import padded, tokened

from diptych.core import Embedding
from diptych.scoring import LateInteraction, MaxOverParts
from diptych.scoring import max_over_parts as module

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, of numbers of order 1 to 10


def text_of(rows: int, seed: int) -> Embedding:
    return Embedding({"dense": tokened(rows, seed).dense})


def test_it_is_the_best_of_an_images_parts_whichever_way_round(monkeypatch: pytest.MonkeyPatch):
    text, image, scorer = text_of(4, 0), tokened(6, 1), MaxOverParts(3.0).double()
    assert image.tokens is not None and image.mask is not None
    scale = float(scorer.current_scale().detach())
    expected = torch.tensor(
        [
            [
                max(scale * float(t @ p) for p in parts[real])
                for parts, real in zip(image.tokens, image.mask, strict=True)
            ]
            for t in text.dense
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(scorer(text, image), expected, **EXACT)
    torch.testing.assert_close(scorer(image, text), expected.T, **EXACT)
    torch.testing.assert_close(scorer.pairs(text, image[:4]), expected[:, :4].diagonal(), **EXACT)
    torch.testing.assert_close(scorer.pairs(image[:4], text), expected[:, :4].diagonal(), **EXACT)
    torch.testing.assert_close(scorer(text, padded(image, 3, 2)), expected, **EXACT)
    monkeypatch.setattr(module, "BLOCK", 40)
    torch.testing.assert_close(scorer(text, image), expected, **EXACT)


def test_it_is_late_interaction_with_a_text_of_one_token():
    text, image = text_of(4, 0), tokened(6, 1)
    word = Embedding({}, text.dense[:, None], torch.ones(4, 1, dtype=torch.bool))
    torch.testing.assert_close(
        MaxOverParts(3.0).double()(text, image), LateInteraction(3.0).double()(word, image), **EXACT
    )


def test_nothing_to_compare_is_a_cosine_of_minus_one_and_wrong_sides_are_refused():
    text, image, scorer = text_of(2, 0), tokened(2, 1), MaxOverParts(3.0).double()
    assert image.mask is not None
    none = replace(image, mask=torch.zeros_like(image.mask))
    assert torch.equal(scorer(text, none), torch.full((2, 2), -1.0).double() * scorer.current_scale())
    assert scorer(text[:0], image).shape == (0, 2) and scorer(text, image[:0]).shape == (2, 0)
    with pytest.raises(ValueError, match="both sides have tokens"):
        scorer(image, image)
    with pytest.raises(ValueError, match="neither side has tokens"):
        scorer.pairs(text, text)
    with pytest.raises(ValueError, match="scale is 0"):
        MaxOverParts(0)
