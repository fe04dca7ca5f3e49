"""A cascade is its second scorer among the first's best, and its first below them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_cases import tokened
from torch import Tensor, nn

from diptych.core import Embedding
from diptych.core.configuration import build, describe
from diptych.core.scorer import Scorer
from diptych.evaluation.retrieval import both_ways
from diptych.scoring import CSLS, Cascade, Dot, LateInteraction

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-12}  # float64, of numbers of order 1 to 10


class CrossEncoder(Scorer):
    """Reads both rows together, and can score pairs only."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset, self.seen = offset, 0
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).double()

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        self.seen += len(a)
        return self.net(torch.cat([a.dense, b.dense], 1))[:, 0] + self.offset


@pytest.mark.parametrize("depth", [1, 4, 9, 50])
def test_it_is_the_second_among_the_firsts_best(depth: int):
    queries, gallery, first, second = tokened(6, 0), tokened(9, 1), Dot(20.0).double(), LateInteraction(9.0).double()
    scores = Cascade(first, second, depth=depth, batch=5)(queries, gallery)
    best = first(queries, gallery).topk(min(depth, 9), dim=1).indices
    torch.testing.assert_close(scores.gather(1, best), second(queries, gallery).gather(1, best), **EXACT)
    if depth >= 9:
        torch.testing.assert_close(scores, second(queries, gallery), **EXACT)


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(1, 12),
    scale=st.sampled_from([1e-4, 1.0, 1e9]),
    offset=st.sampled_from([-1e9, -40.0, 0.0, 40.0, 1e9]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_what_was_ranked_again_stays_above_the_rest(depth: int, scale: float, offset: float, dtype: torch.dtype):
    """Whatever the size of either's scores; and the rest keep the first's order, as far as rounding lets them."""
    queries, gallery = tokened(5, 2), tokened(12, 3)
    first, second = Dot(scale, max_scale=1e9).to(dtype), CrossEncoder(offset).to(dtype)
    queries, gallery = (e.map(lambda x: x.to(dtype)) for e in (queries, gallery))
    scores, before = Cascade(first, second, depth=depth)(queries, gallery), first(queries, gallery)
    order = before.argsort(1, descending=True)
    ranked = scores.gather(1, order)
    assert second.seen == 5 * depth
    if depth < 12:
        assert bool((ranked[:, :depth].min(1).values > ranked[:, depth:].max(1).values).all())
        assert bool((ranked[:, depth:].diff(dim=1) <= 0).all())


def test_a_cross_encoder_ranks_in_retrieval_both_ways():
    """A second scorer that knows the answers puts them first if the first scorer brought them up."""

    class Knows(Scorer):
        def pairs(self, a: Embedding, b: Embedding) -> Tensor:
            return (a.vectors["row"] == b.vectors["row"]).all(1).double()

    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(2, 50, 8, generator=generator), dim=-1)
    row = torch.arange(50.0)[:, None]
    image, text = (Embedding({"dense": x, "row": row}) for x in vectors)
    keys = torch.arange(50)[:, None]
    with torch.no_grad():
        raw = both_ways(image, text, keys, keys, Dot(), ks=(1, 10), chunk=13)
        again = both_ways(image, text, keys, keys, Cascade(Dot(), Knows(), depth=10), ks=(1, 10), chunk=13)
    for way in raw:
        assert again[way].recall[1] == raw[way].recall[10] > raw[way].recall[1]
        assert again[way].recall[10] == raw[way].recall[10]


def test_both_scorers_learn_and_are_fitted():
    queries, gallery = tokened(3, 4), tokened(5, 5)
    cascade = Cascade(Dot(2.0).double(), LateInteraction(2.0).double(), depth=2)
    cascade(queries, gallery).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in cascade.parameters())
    assert describe(build(describe(cascade))) == describe(cascade)
    corrected = Cascade(CSLS(Dot(1.0).double(), k=2), LateInteraction().double(), depth=2).fit(gallery, queries)
    assert corrected(queries, gallery).shape == (3, 5)  # CSLS refuses to score before it is fitted
    torch.testing.assert_close(
        corrected.pairs(queries, gallery[:3]), LateInteraction().double().pairs(queries, gallery[:3])
    )
    assert cascade(queries[:0], gallery).shape == (0, 5) and cascade(queries, gallery[:0]).shape == (3, 0)
    with pytest.raises(ValueError, match="depth is 0"):
        Cascade(Dot(), Dot(), depth=0)
