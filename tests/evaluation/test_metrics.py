"""Ranks and measures against hand-worked values, a brute-force reading of the definitions, and a peer library."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import (
    retrieval_average_precision,
    retrieval_precision,
    retrieval_r_precision,
    retrieval_reciprocal_rank,
)

from diptych.evaluation import metrics


def brute_ranks(scores: np.ndarray, positives: np.ndarray) -> list[list[int]]:
    """The definition, one query at a time: sort with wrong rows first among equals, read off where right ones stand."""
    lines = []
    for row, right in zip(scores, positives, strict=True):
        order = sorted(range(len(row)), key=lambda j: (-row[j], right[j]))
        lines.append([place for place, j in enumerate(order, 1) if right[j]])
    return lines


def unpadded(ranks: torch.Tensor) -> list[list[int]]:
    return [[rank for rank in line if rank] for line in ranks.tolist()]


@st.composite
def tied(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores from a handful of values, minus infinity among them, with any number of positives per query."""
    queries, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.integers(0, draw(st.integers(1, 6)), (queries, gallery)).astype(np.float32)
    scores[rng.random(scores.shape) < draw(st.sampled_from([0.0, 0.2]))] = -np.inf
    return scores, rng.random(scores.shape) < draw(st.sampled_from([0.1, 0.4, 0.9, 1.0]))


@settings(deadline=None, max_examples=150)
@given(tied())
def test_ranks_and_measures_are_those_of_the_definition(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positives = case
    ranks = metrics.positive_ranks(torch.from_numpy(scores), torch.from_numpy(positives))
    expected = brute_ranks(scores, positives)
    assert unpadded(ranks) == expected
    assert metrics.queries_without_positive(ranks) == sum(not line for line in expected)
    found = [line for line in expected if line]
    if not found:
        return
    best = [line[0] for line in found]
    precisions = [[place / rank for place, rank in enumerate(line, 1)] for line in found]
    assert metrics.recall_at(ranks, 3) == pytest.approx(np.mean([rank <= 3 for rank in best]))
    assert metrics.median_rank(ranks) == np.median(best)
    assert metrics.mean_rank(ranks) == pytest.approx(np.mean(best))
    assert metrics.mean_reciprocal_rank(ranks) == pytest.approx(np.mean([1 / rank for rank in best]))
    assert metrics.mean_average_precision(ranks) == pytest.approx(np.mean([np.mean(line) for line in precisions]))
    at_3 = [
        sum(p for p, rank in zip(line, at, strict=True) if rank <= 3) / min(3, len(at))
        for line, at in zip(precisions, found, strict=True)
    ]
    assert metrics.mean_average_precision(ranks, 3) == pytest.approx(np.mean(at_3))


def test_hand_worked() -> None:
    # Sorted: 0.9 right, 0.8 wrong, 0.7 wrong before 0.7 right (a tie is lost), 0.1 right.
    scores = torch.tensor([[0.7, 0.9, 0.1, 0.8, 0.7], [0.1, 0.2, 0.3, 0.4, 0.5]])
    positives = torch.tensor([[True, True, True, False, False], [True, False, False, False, False]])
    ranks = metrics.positive_ranks(scores, positives)
    assert ranks.tolist() == [[1, 4, 5], [5, 0, 0]]
    assert metrics.recall_at(ranks, 1) == 0.5
    assert metrics.recall_at(ranks, 5) == 1.0
    assert metrics.median_rank(ranks) == 3.0
    assert metrics.mean_reciprocal_rank(ranks) == pytest.approx((1 + 1 / 5) / 2)
    assert metrics.average_precision(ranks).tolist() == pytest.approx([(1 + 2 / 4 + 3 / 5) / 3, 1 / 5])
    assert metrics.average_precision(ranks, k=4).tolist() == pytest.approx([(1 + 2 / 4) / 3, 0])
    assert metrics.average_precision(ranks, k=1).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_every_dtype_ranks_alike(dtype: torch.dtype) -> None:
    scores = torch.tensor([[3, 1, 2, 2]]).to(dtype)
    assert metrics.positive_ranks(scores, torch.tensor([[False, False, True, False]])).tolist() == [[3]]


@pytest.mark.parametrize("wrong", [0, 1, 4, 9])
def test_a_constant_scorer_finds_nothing_before_all_wrong_rows(wrong: int) -> None:
    positives = torch.arange(10)[None] >= wrong
    ranks = metrics.positive_ranks(torch.zeros(1, 10), positives)
    for k in range(1, 11):
        assert metrics.recall_at(ranks, k) == float(k > wrong)


def test_average_precision_is_that_of_scikit_learn_where_nothing_ties() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(200.0), (20, 1)), axis=1)
    positives = rng.random((20, 200)) < 0.1
    ours = metrics.average_precision(metrics.positive_ranks(torch.from_numpy(scores), torch.from_numpy(positives)))
    theirs = [average_precision_score(right, row) for right, row in zip(positives, scores, strict=True)]
    assert ours.tolist() == pytest.approx(theirs)


@pytest.mark.parametrize("k", [1, 7, 50, 200])
def test_precisions_are_those_of_torchmetrics_where_nothing_ties(k: int) -> None:
    rng = np.random.default_rng(1)
    scores = 1 + torch.from_numpy(rng.permuted(np.tile(np.arange(200.0), (20, 1)), axis=1))  # to them 0 is not found
    positives = torch.from_numpy(rng.random((20, 200)) < 0.1)
    positives[0], positives[1] = False, torch.arange(200) == 5
    ranks = metrics.positive_ranks(scores, positives)
    precision, of_r = metrics.precision_at(ranks, k), metrics.r_precision(ranks)
    average = metrics.average_precision(ranks)
    assert precision[0].isnan() and of_r[0].isnan() and average[0].isnan()
    pairs = list(zip(scores[1:], positives[1:], strict=True))
    assert precision[1:].tolist() == pytest.approx([float(retrieval_precision(*pair, top_k=k)) for pair in pairs])
    assert of_r[1:].tolist() == pytest.approx([float(retrieval_r_precision(*pair)) for pair in pairs])
    assert average[1:].tolist() == pytest.approx([float(retrieval_average_precision(*pair)) for pair in pairs])
    reciprocal = [float(retrieval_reciprocal_rank(*pair, top_k=k)) for pair in pairs]
    assert metrics.mean_reciprocal_rank(ranks, k) == pytest.approx(np.mean(reciprocal))


def test_average_precision_at_k_is_that_of_inquire() -> None:
    """The mean precision of those found among the first k, times their share of those that could be."""
    rng = np.random.default_rng(2)
    scores = rng.permuted(np.tile(np.arange(100.0), (10, 1)), axis=1)
    positives = rng.random((10, 100)) < np.linspace(0.02, 0.9, 10)[:, None]
    positives[:, 0] = True
    ours = metrics.average_precision(metrics.positive_ranks(torch.from_numpy(scores), torch.from_numpy(positives)), 20)
    theirs = []
    for right, row in zip(positives, scores, strict=True):
        first = np.argsort(-row)[:20]
        found = right[first].sum()
        precision = average_precision_score(right[first], row[first]) if found else 0.0
        theirs.append(precision * found / min(right.sum(), 20))
    assert ours.tolist() == pytest.approx(theirs)


def test_precisions_worked_by_hand() -> None:
    ranks = torch.tensor([[1, 3, 4], [2, 0, 0], [0, 0, 0]])
    assert metrics.precision_at(ranks, 2)[:2].tolist() == [0.5, 0.5]
    assert metrics.precision_at(ranks, 8)[:2].tolist() == [3 / 8, 1 / 8]  # rows that a small gallery lacks are wrong
    assert metrics.r_precision(ranks)[:2].tolist() == [2 / 3, 0.0]
    assert metrics.mean_reciprocal_rank(ranks) == 0.75
    assert metrics.mean_reciprocal_rank(ranks, 1) == 0.5
    tied = metrics.positive_ranks(torch.zeros(1, 4), torch.tensor([[True, True, False, False]]))
    assert metrics.precision_at(tied, 2).item() == metrics.r_precision(tied).item() == 0.0
    for measure in (metrics.precision_at, metrics.mean_reciprocal_rank):
        with pytest.raises(ValueError, match="k is 0"):
            measure(ranks, 0)


@pytest.mark.parametrize(("gallery", "p", "k"), [(5, 1, 1), (6, 2, 3), (7, 3, 4), (7, 5, 3), (4, 4, 1), (4, 1, 9)])
def test_chance_is_that_of_trying_every_ranking(gallery: int, p: int, k: int) -> None:
    draws = list(combinations(range(gallery), min(k, gallery)))
    expected = sum(min(draw) < p for draw in draws) / len(draws)
    assert metrics.chance_recall(k, gallery=gallery, positives=torch.tensor([p])) == pytest.approx(expected)


def test_chance_is_exact_in_large_galleries() -> None:
    miss = math.comb(25_000 - 5, 10) / math.comb(25_000, 10)
    chance = metrics.chance_recall(10, gallery=25_000, positives=torch.tensor([5]))
    assert chance == pytest.approx(1 - miss, rel=1e-9)
    tiny = metrics.chance_recall(1, gallery=10**9, positives=torch.tensor([1]))
    assert tiny == pytest.approx(1e-9, rel=1e-12)  # a difference of log-gammas would be off in the first digits


def test_chance_averages_over_queries_that_have_a_positive() -> None:
    assert metrics.chance_recall(1, gallery=10, positives=torch.tensor([0, 1, 1, 4])) == pytest.approx(0.2)


def test_random_scores_get_what_chance_says() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(4000, 50, generator=generator)
    positives = torch.zeros(4000, 50, dtype=torch.bool)
    positives[:, :3] = True
    ranks = metrics.positive_ranks(scores, positives)
    chance = metrics.chance_recall(5, gallery=50, positives=positives.sum(1))
    # 4 standard errors of a share over 4,000 queries.
    assert metrics.recall_at(ranks, 5) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 4000))


def test_nan_is_refused_and_located() -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = scores[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"2 of 12 scores are NaN, in 2 of 3 queries.*query 1 and gallery row 2"):
        metrics.positive_ranks(scores, torch.ones(3, 4, dtype=torch.bool))


def test_what_cannot_be_measured_is_refused() -> None:
    none = metrics.positive_ranks(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert metrics.queries_without_positive(none) == 2
    with pytest.raises(ValueError, match="none of 2 queries has a positive"):
        metrics.recall_at(none, 1)
    with pytest.raises(ValueError, match="k is 0"):
        metrics.recall_at(torch.tensor([[1]]), 0)
    with pytest.raises(ValueError, match="gallery is empty"):
        metrics.positive_ranks(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\[Q, N\]"):
        metrics.positive_ranks(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="at most the gallery of 3"):
        metrics.chance_recall(1, gallery=3, positives=torch.tensor([4]))
