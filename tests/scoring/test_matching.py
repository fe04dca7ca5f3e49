"""Matching scores a pair as the encoder does that reads it alone; padding, order and chunks change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from token_cases import padded, tokened

from diptych.core import Embedding
from diptych.core.configuration import build, describe
from diptych.encoders import FusionEncoder
from diptych.scoring import Cascade, Dot, Matching
from diptych.scoring import matching as module

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, of numbers of order 1


def images(rows: int, seed: int) -> Embedding:
    return replace(tokened(rows, seed, length=6), grid=(2, 3))


@pytest.fixture
def scorer() -> Matching:
    torch.manual_seed(0)
    return Matching(FusionEncoder(4, width=16, depth=2, heads=4), batch=4).double().eval()


def alone(scorer: Matching, texts: Embedding, image: Embedding) -> torch.Tensor:
    """Each pair by itself, its real tokens only."""
    assert texts.tokens is not None and image.tokens is not None and texts.mask is not None and image.mask is not None
    rows = []
    for text, t_mask in zip(texts.tokens, texts.mask, strict=True):
        for one, i_mask in zip(image.tokens, image.mask, strict=True):
            words, places = text[t_mask][None], one[i_mask][None]
            every = [torch.ones(1, x.shape[1], dtype=torch.bool) for x in (words, places)]
            rows.append(scorer.fusion(words, every[0], scorer.fusion.memory(places), every[1])[0])
    return torch.stack(rows).view(len(texts), len(image))


def test_a_pair_is_scored_as_if_alone_whichever_way_round(scorer: Matching, monkeypatch: pytest.MonkeyPatch):
    texts, gallery = tokened(5, 0), images(7, 1)
    expected = alone(scorer, texts, gallery)
    torch.testing.assert_close(scorer(texts, gallery), expected, **EXACT)
    torch.testing.assert_close(scorer(gallery, texts), expected.T, **EXACT)
    torch.testing.assert_close(scorer.pairs(texts, gallery[:5]), expected[:, :5].diagonal(), **EXACT)
    torch.testing.assert_close(scorer.pairs(gallery[:5], texts), expected[:, :5].diagonal(), **EXACT)
    monkeypatch.setattr(module, "IMAGES_AT_ONCE", 3)
    torch.testing.assert_close(scorer(texts, gallery), expected, **EXACT)


def test_what_is_not_real_has_no_say(scorer: Matching):
    texts, gallery = tokened(5, 0), images(7, 1)
    wide = padded(texts, 3, 2), padded(gallery, 4, 3)
    torch.testing.assert_close(scorer(*wide), scorer(texts, gallery), **EXACT)


def test_rows_without_any_token_score_a_number_and_get_no_gradient_that_is_none(scorer: Matching):
    texts, gallery = tokened(3, 0), images(3, 1)
    assert texts.mask is not None and gallery.mask is not None
    texts = replace(texts, mask=texts.mask & torch.tensor([[True], [False], [True]]))
    gallery = replace(gallery, mask=gallery.mask & torch.tensor([[True], [True], [False]]))
    leaves = [e.map(lambda x: x.clone().requires_grad_()) for e in (texts, gallery)]
    scores = scorer(*leaves)
    scores.sum().backward()
    assert scores.isfinite().all()
    assert all(e.tokens.grad.isfinite().all() for e in leaves)  # type: ignore[union-attr]


def test_no_rows_give_no_scores(scorer: Matching):
    texts, gallery = tokened(3, 0), images(4, 1)
    assert scorer(texts[:0], gallery).shape == (0, 4) and scorer(texts, gallery[:0]).shape == (3, 0)
    assert scorer.pairs(texts[:0], gallery[:0]).shape == (0,)


def test_the_text_matters_word_by_word(scorer: Matching):
    """Two texts of the same mean token are told apart: it is no dual encoder."""
    gallery = images(1, 1)
    x = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(1, 2, dtype=torch.bool)
    one, two = (Embedding({}, torch.stack([x + y, x - y])[None], mask) for y in (torch.zeros(4).double(), x.flip(0)))
    assert abs(float((scorer(one, gallery) - scorer(two, gallery)).detach())) > 1e-3


def test_a_cascade_ranks_by_it_again(scorer: Matching):
    texts, gallery, dot = tokened(5, 0), images(7, 1), Dot(9.0).double()
    scores = Cascade(dot, scorer, depth=3)(texts, gallery)
    best = dot(texts, gallery).topk(3, dim=1).indices
    assert scores.topk(3, dim=1).indices.sort().values.equal(best.sort().values)
    torch.testing.assert_close(scores.gather(1, best), scorer(texts, gallery).gather(1, best), **EXACT)


def test_the_dual_encoders_score_is_added_and_gets_no_gradient(scorer: Matching):
    texts, gallery, dot = tokened(5, 0), images(7, 1), Dot(9.0).double()
    both = Matching(scorer.fusion, batch=4, dual=dot)
    torch.testing.assert_close(both(texts, gallery), scorer(texts, gallery) + dot(texts, gallery), **EXACT)
    torch.testing.assert_close(both(gallery, texts), both(texts, gallery).T, **EXACT)
    torch.testing.assert_close(both.pairs(gallery[:5], texts), both(texts, gallery[:5]).diagonal(), **EXACT)
    both(texts, gallery).sum().backward()
    assert dot.log_scale.grad is None and scorer.fusion.start.grad is not None


def test_it_is_built_again_from_its_description(scorer: Matching):
    again = build(describe(scorer)).double().eval()
    again.load_state_dict(scorer.state_dict())
    texts, gallery = tokened(5, 0), images(7, 1)
    assert torch.equal(again(texts, gallery), scorer(texts, gallery))


def test_what_cannot_be_matched_is_refused(scorer: Matching):
    with pytest.raises(ValueError, match="found the grids None and None"):
        scorer(tokened(2, 0), tokened(2, 1))
    with pytest.raises(ValueError, match=r"found the grids \(2, 3\)"):
        scorer.pairs(images(2, 0), images(2, 1))
    with pytest.raises(ValueError, match="only the spaces"):
        scorer(Embedding({"dense": torch.ones(1, 4)}), images(2, 1))
    with pytest.raises(ValueError, match="batch is 0"):
        Matching(FusionEncoder(4), batch=0)
    with pytest.raises(ValueError, match="not a multiple of heads"):
        FusionEncoder(4, width=10, heads=4)
    with pytest.raises(ValueError, match="depth is 0"):
        FusionEncoder(4, depth=0)
