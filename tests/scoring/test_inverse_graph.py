"""Inverse graph convolution is its definition, and spreads a narrow gallery."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.core.configuration import build, describe
from diptych.scoring import Dot, InverseGraphConvolution

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}  # float64, of numbers of order 1


def unit(rows: int, seed: int, width: int = 5) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding({"dense": F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)})


def make(**options: Any) -> InverseGraphConvolution:
    return InverseGraphConvolution(Dot(1.0).double(), **options)


def by_definition(x: Tensor, y: Tensor, rate: float, k: int, *, itself: int | None) -> Tensor:
    """One row less its k nearest rows of `y`, times their cosines, over k."""
    nearest = sorted((j for j in range(len(y)) if j != itself), key=lambda j: -float(x @ y[j]))[:k]
    drawn = sum((float(x @ y[j]) * y[j] for j in nearest), torch.zeros_like(x))
    return F.normalize(x - rate * drawn / k, dim=0)


@pytest.mark.parametrize(("share", "k"), [(0.01, 1), (0.3, 3)])
def test_it_is_its_definition(share: float, k: int):
    gallery, bank, queries = unit(10, 0), unit(10, 1), unit(4, 2)
    scorer = make(gallery_rate=0.7, query_rate=0.4, share=share)
    rows = []
    for i, x in enumerate(gallery.dense):
        apart = by_definition(x, gallery.dense, 0.7, k, itself=i)
        rows.append(F.normalize(apart + by_definition(x, bank.dense, 0.4, k, itself=None), dim=0))
    torch.testing.assert_close(
        scorer.fit(gallery, bank)(queries, gallery), queries.dense @ torch.stack(rows).T, **EXACT
    )
    alone = torch.stack([by_definition(x, gallery.dense, 0.7, k, itself=i) for i, x in enumerate(gallery.dense)])
    torch.testing.assert_close(scorer.fit(gallery)(queries, gallery), queries.dense @ alone.T, **EXACT)


def test_a_hand_worked_case():
    """In the plane, rows at 0 and 60 degrees have the cosine 1/2; at rate 2, x - 2 * y / 2 = x - y is at -60."""
    angles = torch.tensor([0.0, torch.pi / 3], dtype=torch.float64)
    gallery = Embedding({"dense": torch.stack([angles.cos(), angles.sin()], 1)})
    moved = make(gallery_rate=2.0, share=0.5).fit(gallery).measured(gallery)
    angles = torch.tensor([-torch.pi / 3, 2 * torch.pi / 3], dtype=torch.float64)
    torch.testing.assert_close(moved, torch.stack([angles.cos(), angles.sin()], 1), **EXACT)


def test_laws():
    gallery, bank, queries = unit(12, 3), unit(9, 4), unit(5, 5)
    scorer = make(share=0.4).fit(gallery, bank)
    scores, order = scorer(queries, gallery), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    # Parts, pairs, and rows in another order score as the whole.
    torch.testing.assert_close(scorer(queries[1:3], gallery[4:9]), scores[1:3, 4:9], **EXACT)
    torch.testing.assert_close(scorer.pairs(queries, gallery[:5]), scores.diagonal(), **EXACT)
    torch.testing.assert_close(make(share=0.4).fit(gallery[order], bank)(queries, gallery), scores, **EXACT)
    # Rates of zero change nothing, and copies of one row alone stay where they are.
    still = make(gallery_rate=0.0, query_rate=0.0).fit(gallery, bank)
    torch.testing.assert_close(still(queries, gallery), queries.dense @ gallery.dense.T, **EXACT)
    copies = gallery[torch.zeros(4, dtype=torch.long)]
    torch.testing.assert_close(make(share=1.0).fit(copies).measured(copies), copies.dense, **EXACT)
    assert describe(build(describe(scorer))) == describe(scorer)


def test_a_narrow_cone_is_spread():
    """The mean cosine of a row with its nearest neighbour, which the authors report too."""
    narrow = Embedding({"dense": F.normalize(unit(60, 6, 16).dense + 2 * unit(1, 7, 16).dense, dim=-1)})
    moved = make(gallery_rate=1.0, share=0.1).fit(narrow).measured(narrow)
    nearest = [float((x @ x.T).fill_diagonal_(-1).max(1).values.mean()) for x in (narrow.dense, moved)]
    assert nearest[0] > 0.85 and nearest[1] < nearest[0] - 0.1


def test_gradients_are_right_and_mistakes_are_named():
    queries, rows, scorer = unit(3, 8).dense, unit(4, 9).dense, make(share=0.5).fit(unit(6, 10), unit(6, 11))

    def scores(x: Tensor, y: Tensor) -> Tensor:
        return scorer(Embedding({"dense": x}), Embedding({"dense": y}))

    assert torch.autograd.gradcheck(scores, (queries.requires_grad_(), rows.requires_grad_()))
    with pytest.raises(ValueError, match="share is 0"):
        make(share=0)
    with pytest.raises(ValueError, match="call fit"):
        make()(unit(2, 0), unit(2, 0))
