"""Hubs lose what they win with everybody; the formulas are the papers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.core.configuration import build, describe
from diptych.evaluation.retrieval import retrieve
from diptych.scoring import CSLS, Dot, InvertedSoftmax, occurrence_skew
from diptych.scoring.banked import Banked

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-10}  # float64, of numbers of order 1 to 20
Make = Callable[[], Banked]
MAKES: list[Make] = [
    lambda: InvertedSoftmax(cosine(), beta=20.0),
    lambda: InvertedSoftmax(cosine(), beta=3.0, dynamic=False),
    lambda: CSLS(cosine(), k=3),
]


def cosine() -> Dot:
    return Dot(1.0).double()


def unit(rows: int, seed: int, width: int = 6) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding({"dense": F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)})


def hubs() -> tuple[Embedding, Embedding, Embedding]:
    """120 rows, a query for each, and a bank of 400 queries for rows that are not there; 6 rows are hubs.

    All queries lean to one side, as modalities do, and the hubs lie there.
    """
    generator = torch.Generator().manual_seed(0)
    side = F.normalize(torch.randn(24, generator=generator, dtype=torch.float64), dim=-1)
    every, noise = torch.randn(2, 520, 24, generator=generator, dtype=torch.float64) / 24**0.5
    queries = F.normalize(every + 0.8 * noise + side, dim=-1)
    rows = every[:120].clone()
    rows[:6] = 0.4 * rows[:6] + side
    gallery = Embedding({"dense": F.normalize(rows, dim=-1)})
    return gallery, Embedding({"dense": queries[:120]}), Embedding({"dense": queries[120:]})


def test_inverted_softmax_is_its_definition():
    gallery, bank, queries = unit(7, 0), unit(700, 1), unit(5, 2)  # a bank of more than one piece
    s, of_bank = queries.dense @ gallery.dense.T, bank.dense @ gallery.dense.T
    expected = torch.exp(20 * s) / torch.exp(20 * of_bank).sum(0)
    scores = InvertedSoftmax(cosine(), dynamic=False).fit(gallery, bank)(queries, gallery)
    torch.testing.assert_close(torch.exp(20 * scores) / 700, expected, rtol=1e-10, atol=0)  # float64


def test_the_dynamic_form_corrects_the_queries_of_hubs_only():
    gallery = Embedding({"dense": torch.eye(3, dtype=torch.float64)})
    bank = Embedding({"dense": torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1]], dtype=torch.float64)})  # row 0 wins
    queries = Embedding({"dense": torch.tensor([[0.6, 0.5, 0.1], [0.4, 0.5, 0.45]], dtype=torch.float64)})
    raw, corrected = queries.dense, InvertedSoftmax(cosine(), dynamic=False).fit(gallery, bank)(queries, gallery)
    scores = InvertedSoftmax(cosine()).fit(gallery, bank)(queries, gallery)
    torch.testing.assert_close(scores[0], corrected[0], **EXACT)
    torch.testing.assert_close(scores[1], raw[1], **EXACT)
    assert scores[0].argmax() == 1 and corrected[1].argmax() == 2


def test_csls_is_its_definition():
    gallery, bank, queries = unit(7, 0), unit(700, 1), unit(5, 2)
    s, of_bank = queries.dense @ gallery.dense.T, bank.dense @ gallery.dense.T
    of_rows = of_bank.sort(0, descending=True).values[:3].mean(0)
    of_queries = s.sort(1, descending=True).values[:, :3].mean(1)
    expected = 2 * s - of_rows - of_queries[:, None]
    torch.testing.assert_close(CSLS(cosine(), k=3).fit(gallery, bank)(queries, gallery), expected, **EXACT)
    few = CSLS(cosine(), k=100).fit(gallery, bank[:4])  # no more than there are
    torch.testing.assert_close(few(queries, gallery), 2 * s - of_bank[:4].mean(0) - s.mean(1)[:, None], **EXACT)


@pytest.mark.parametrize("make", MAKES)
def test_parts_of_the_gallery_pairs_and_copies_score_as_the_whole(make: Make):
    gallery, queries = unit(9, 3), unit(6, 4)
    scorer = make().fit(gallery, unit(20, 5))
    scores = scorer(queries, gallery)
    i, j = torch.tensor([4, 0, 5]), torch.tensor([8, 2])
    torch.testing.assert_close(scorer(queries[i], gallery[j]), scores[i][:, j], **EXACT)
    torch.testing.assert_close(scorer.pairs(queries, gallery[:6]), scores.diagonal(), **EXACT)
    twice = make().fit(gallery, Embedding.cat([unit(20, 5)] * 2)) if not isinstance(scorer, CSLS) else scorer
    torch.testing.assert_close(twice(queries, gallery), scores, **EXACT)  # the bank's size does not matter


@pytest.mark.parametrize("make", MAKES)
def test_hubs_occur_less_and_more_is_found(make: Make):
    gallery, queries, bank = hubs()
    before, scorer = cosine(), make().fit(gallery, bank)
    keys = torch.arange(120)[:, None]
    with torch.no_grad():
        skews = [occurrence_skew(s(queries, gallery), 1) for s in (before, scorer)]
        recalls = [retrieve(queries, gallery, keys, keys, s).recall[1] for s in (before, scorer)]
    assert skews[0] > 3 and skews[1] < 0.6 * skews[0]
    assert recalls[0] < 0.5 and recalls[1] > 0.75


@pytest.mark.parametrize("make", MAKES)
def test_gradients_flow_where_the_gallery_is_not_the_fitted_one(make: Make):
    gallery, queries, scorer = unit(4, 6).dense, unit(3, 7).dense, make().fit(unit(5, 8), unit(6, 9))

    def scores(x: Tensor, y: Tensor) -> Tensor:
        return scorer(Embedding({"dense": x}), Embedding({"dense": y}))

    assert torch.autograd.gradcheck(scores, (queries.requires_grad_(), gallery.requires_grad_()))


def test_skewness_of_occurrences():
    """Four queries, their best rows 0, 0, 0, 1 of three: counts 3, 1, 0, worked by hand."""
    scores = F.one_hot(torch.tensor([0, 0, 0, 1]), 3).float()
    counts = [5 / 3, -1 / 3, -4 / 3]  # less their mean of 4/3
    expected = sum(c**3 for c in counts) / 3 / (sum(c**2 for c in counts) / 3) ** 1.5
    assert occurrence_skew(scores, 1) == pytest.approx(expected)
    assert occurrence_skew(torch.eye(3), 1) == 0.0


@pytest.mark.parametrize("make", MAKES)
def test_what_is_missing_is_named(make: Make):
    rows = unit(3, 0)
    with pytest.raises(ValueError, match=r"call fit\(gallery, queries\) first"):
        make()(rows, rows)
    with pytest.raises(ValueError, match="needs a bank of queries"):
        make().fit(rows)
    with pytest.raises(ValueError, match="it got 0 of the gallery"):
        make().fit(rows[:0], rows)
    assert describe(build(describe(make()))) == describe(make())


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="beta is 0"):
        InvertedSoftmax(cosine(), beta=0)
    with pytest.raises(ValueError, match="k is 0"):
        CSLS(cosine(), k=0)
