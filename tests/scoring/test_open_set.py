"""The value of going without: chosen where answers are known, it keeps strangers from taking rows."""

from __future__ import annotations

import pytest
import torch

from diptych.scoring import Shortlist, assign, assign_shortlisted, best_unmatched


def open_scores(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of 40 queries, 12 of which have no row, 15 rows that nobody asks for, and the right answers."""
    generator = torch.Generator().manual_seed(seed)
    scores = 0.15 * torch.randn(40, 43, generator=generator, dtype=torch.float64)
    scores[:28, :28] += 0.6 * torch.eye(28)
    return scores, torch.cat([torch.arange(28), torch.full((12,), -1)])


def test_no_other_value_gets_more_right():
    scores, right = open_scores(0)
    value = best_unmatched(assign, scores, right, scores)
    best = int((assign(scores, unmatched=value) == right).sum())
    assert best >= max(int((assign(scores, unmatched=x / 50) == right).sum()) for x in range(-50, 60)) - 1  # between
    assert best > int((assign(scores) == right).sum()) + 8


def test_it_holds_for_other_queries_and_for_shortlists():
    known, right = open_scores(1)
    scores, wanted = open_scores(2)
    value = best_unmatched(assign, known, right, known.amax(1))
    assert int((assign(scores, unmatched=value) == wanted).sum()) >= 36
    few = known.topk(5, dim=1)
    listed = Shortlist(few.indices, few.values)
    value = best_unmatched(assign_shortlisted, listed, right, listed.scores[:, 0])
    best = scores.topk(5, dim=1)
    found = assign_shortlisted(Shortlist(best.indices, best.values), unmatched=value)
    assert int((found == wanted).sum()) >= 36


def test_without_candidates_there_is_nothing_to_choose():
    scores, right = open_scores(0)
    with pytest.raises(ValueError, match="32 of 0 finite"):
        best_unmatched(assign, scores, right, torch.full((3,), -torch.inf))
