"""The sparse matching is the dense one where all are candidates, and the best of all where few are."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core import Embedding
from diptych.scoring import Dot, Shortlist, assign, assign_shortlisted, shortlist


def best_by_trying(rows: list[list[int]], scores: list[list[float]], unmatched: float | None) -> tuple[int, float]:
    """How many are matched, and for how much: by trying every choice."""
    best = (-1, 0.0)
    for choice in product(*[[*range(len(line)), -1] for line in rows]):
        taken = [line[c] if c >= 0 else -1 for line, c in zip(rows, choice, strict=True)]
        used = [row for row in taken if row >= 0]
        if len(set(used)) < len(used) or any(c >= 0 and row < 0 for c, row in zip(choice, taken, strict=True)):
            continue
        worth = sum(v[c] if c >= 0 else (unmatched or 0.0) for v, c in zip(scores, choice, strict=True))
        here = (len(used) if unmatched is None else 0, worth)
        if best[0] < 0 or here[0] > best[0] or (here[0] == best[0] and here[1] > best[1]):
            best = here
    return best


@settings(max_examples=150, deadline=None)
@given(
    q=st.integers(1, 5),
    n=st.integers(1, 5),
    k=st.integers(1, 3),
    seed=st.integers(0, 10_000),
    unmatched=st.sampled_from([None, -0.5, 0.0, 0.5, 5.0]),
    ties=st.booleans(),
)
def test_no_matching_of_candidates_is_better(q: int, n: int, k: int, seed: int, unmatched: float | None, ties: bool):
    generator = torch.Generator().manual_seed(seed)
    k = min(k, n)
    rows = torch.stack([torch.randperm(n, generator=generator)[:k] for _ in range(q)])
    rows[torch.rand(q, k, generator=generator) < 0.2] = -1
    scores = torch.randn(q, k, generator=generator, dtype=torch.float64)
    scores = scores.round() if ties else scores
    found = assign_shortlisted(Shortlist(rows, scores), unmatched=unmatched).tolist()
    used = [row for row in found if row >= 0]
    assert len(set(used)) == len(used)
    lines, values = rows.tolist(), scores.tolist()
    worth = sum(
        v[line.index(row)] if row >= 0 else (unmatched or 0.0)
        for row, line, v in zip(found, lines, values, strict=True)
    )
    count, most = best_by_trying(lines, values, unmatched)
    assert worth == pytest.approx(most, abs=1e-9)  # float64, with a large price for going alone taken off again
    assert unmatched is not None or len(used) == count


@pytest.mark.parametrize("unmatched", [None, 0.5])
@pytest.mark.parametrize("shape", [(60, 60), (40, 90), (90, 40)])
def test_with_all_rows_as_candidates_it_is_the_dense_matching(shape: tuple[int, int], unmatched: float | None):
    scores = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    best = scores.topk(shape[1], dim=1)
    assert torch.equal(
        assign_shortlisted(Shortlist(best.indices, best.values), unmatched=unmatched),
        assign(scores, unmatched=unmatched),  # of real numbers drawn at random the best matching is one
    )


def test_a_long_catalogue_is_matched_by_a_few_candidates():
    """Six hundred queries, each a noisy copy of one of eight hundred rows."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.nn.functional.normalize(torch.randn(800, 24, generator=generator), dim=-1)
    near = rows[:600] + torch.randn(600, 24, generator=generator) / 24**0.5
    queries, gallery = (Embedding({"dense": torch.nn.functional.normalize(x, dim=-1)}) for x in (near, rows))
    few = shortlist(Dot(1.0), queries, gallery, 10, chunk=300)
    assert few.rows.shape == (600, 10) and (few.scores[:, :-1] >= few.scores[:, 1:]).all()
    torch.testing.assert_close(few.scores, (queries.dense @ gallery.dense.T).gather(1, few.rows))
    right = torch.arange(600)
    alone, together = (int((x == right).sum()) for x in (few.rows[:, 0], assign_shortlisted(few)))
    assert together > alone + 30


def test_mistakes_are_named():
    some = Embedding({"dense": torch.eye(3)})
    with pytest.raises(ValueError, match="k is 0"):
        shortlist(Dot(), some, some, 0)
    with pytest.raises(ValueError, match="the gallery has 0 rows"):
        shortlist(Dot(), some, some[:0], 1)
    assert shortlist(Dot(), some[:0], some, 5).rows.shape == (0, 3)
    with pytest.raises(ValueError, match=r"expected \[Q, k\] both"):
        assign_shortlisted(Shortlist(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 2)))
    with pytest.raises(ValueError, match="not finite"):
        assign_shortlisted(Shortlist(torch.zeros(1, 1, dtype=torch.long), torch.tensor([[float("nan")]])))
    nothing = Shortlist(torch.tensor([[-1], [-1]]), torch.full((2, 1), float("nan")))
    assert assign_shortlisted(nothing).tolist() == [-1, -1]
