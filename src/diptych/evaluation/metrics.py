"""How well a ranking puts the right rows first: recall, ranks, reciprocal rank, precision, average precision.

Every measure is a plain function of one small tensor, the ranks of a query's positives; every choice
that could flatter a model is made once, in `positive_ranks`:

    rank of the i-th best positive = i + #{non-positives that score at least as high}

So a tie with a wrong row is lost. A scorer that says the same of everything gets recall 0, not 1, and
neither the order of the gallery nor the luck of a sort moves a number. (Ties among positives do not matter.)

Ranks are `[Q, P]` int64, 1-based, best first, P the most positives of any query; 0 pads. A query without
any positive is a row of zeros: it cannot be answered, so means leave it out, and `queries_without_positive`
says how many there were.

Rows that are right to a degree belong in `graded`.

Sources: recall at K of image and text as in Hodosh, Young & Hockenmaier 2013 (JAIR 47) and Karpathy &
Fei-Fei 2015 (arXiv 1412.2306); the rest as in Manning, Raghavan & Schütze 2008, chapter 8; on ties,
McSherry & Najork 2008 (ECIR).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """The pessimistic rank of every positive.

    Args:
        scores: `[Q, N]` of any real dtype, higher is better; infinities are allowed.
        positives: `[Q, N]` bool.

    Returns:
        `[Q, P]` int64 ranks, 1-based, best first, 0 pads; P is the most positives of a query, at least 1.

    Raises:
        ValueError: if the shapes differ, the gallery is empty, or a score is NaN.

    Example:
        >>> scores = torch.tensor([[0.9, 0.8, 0.8, 0.1]])
        >>> positive_ranks(scores, torch.tensor([[True, True, False, False]]))
        tensor([[1, 3]])
    """
    if scores.shape != positives.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and positives {tuple(positives.shape)} must both be [Q, N]")
    query, column = positives.nonzero().unbind(1)
    return ranks_of(scores, pad_columns(query, column, queries=len(scores)))


def ranks_of(scores: Tensor, columns: Tensor, *, first_query: int = 0) -> Tensor:
    """`positive_ranks` where the positives are given as column numbers, for galleries too wide for a mask.

    One sort of each row serves all of its positives, however many, for the price of comparing the row with
    five of them (25,000 columns, 2 CPU cores).

    Args:
        scores: `[Q, N]`.
        columns: `[Q, P]` int64, the distinct columns of each query's positives, -1 pads.
        first_query: what row 0 is called in errors, where `scores` is a chunk.

    Returns:
        `[Q, P]` int64 ranks, 1-based, best first, 0 pads.

    Raises:
        ValueError: if the gallery is empty or a score is NaN.
    """
    if not scores.shape[1]:
        raise ValueError("the gallery is empty: there is nothing to rank")
    scores = _comparable(scores)
    ascending = _sort_rows(scores)
    if ascending[:, -1].isnan().any():  # every sort puts NaN last, so this costs nothing
        check_no_nan(scores, first_query=first_query)
    real = columns >= 0
    rising = _sort_rows(scores.gather(1, columns.clamp(min=0)).masked_fill(~real, -torch.inf))  # [Q, P]
    own, count = rising.flip(1), real.sum(1, keepdim=True)
    place = torch.arange(1, own.shape[1] + 1, device=own.device)
    # Pads are minus infinity, as a real score may be: the clamp counts only the real ones.
    ranks = place + _at_least(ascending, own) - _at_least(rising, own).clamp(max=count)
    return torch.where(place <= count, ranks, 0)


def pad_columns(rows: Tensor, columns: Tensor, *, queries: int) -> Tensor:
    """Lay out pairs (row, column), sorted by row, as one padded line for each query.

    Args:
        rows: `[M]` int64, ascending, in 0..queries-1.
        columns: `[M]` int64.
        queries: Q.

    Returns:
        `[Q, P]` int64, -1 pads; P is at least 1.

    Example:
        >>> pad_columns(torch.tensor([0, 0, 2]), torch.tensor([4, 7, 5]), queries=3)
        tensor([[ 4,  7],
                [-1, -1],
                [ 5, -1]])
    """
    count = torch.bincount(rows, minlength=queries)
    widest = int(count.max()) if queries else 0
    padded = torch.full((queries, max(widest, 1)), -1, device=rows.device)
    place = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
    padded[rows, place] = columns
    return padded


def recall_at(ranks: Tensor, k: int) -> float:
    """The share of queries with at least one positive among the first k: the R@K of Flickr30k and COCO.

    (Not the share of positives found, which information retrieval also calls recall.)

    Args:
        ranks: `[Q, P]` as from `positive_ranks`; `[Q, 1]` of the best ranks does as well.
        k: at least 1; may exceed the gallery.

    Returns:
        0 to 1.

    Raises:
        ValueError: if k < 1, or no query has a positive.

    Example:
        >>> recall_at(torch.tensor([[1, 9], [6, 0]]), k=5)
        0.5
    """
    _check_k(k)
    return (best_ranks(ranks) <= k).double().mean().item()


def best_ranks(ranks: Tensor) -> Tensor:
    """The rank of the best positive of every query that has one: `[Q']` int64, Q' <= Q.

    Raises:
        ValueError: if no query has a positive.
    """
    best = ranks[:, 0]
    best = best[best > 0]
    if not len(best):
        raise ValueError(
            f"none of {len(ranks)} queries has a positive in the gallery, so there is nothing to measure: "
            "check that the keys of queries and gallery come from the same table"
        )
    return best


def queries_without_positive(ranks: Tensor) -> int:
    """How many queries no row of the gallery answers; every mean here leaves them out."""
    return int((ranks[:, 0] == 0).sum())


def median_rank(ranks: Tensor) -> float:
    """The median over queries of the best positive's rank, 1 to N; the mean of the two in the middle if Q is even.

    Example:
        >>> median_rank(torch.tensor([[1], [2], [40], [3]]))
        2.5
    """
    best = best_ranks(ranks).sort().values.double()
    return ((best[(len(best) - 1) // 2] + best[len(best) // 2]) / 2).item()


def mean_rank(ranks: Tensor) -> float:
    """The mean over queries of the best positive's rank, 1 to N."""
    return best_ranks(ranks).double().mean().item()


def mean_reciprocal_rank(ranks: Tensor, k: int | None = None) -> float:
    """MRR or MRR@k: the mean over queries of 1 / rank of the best positive, 0 to 1; past rank k it counts 0.

    Raises:
        ValueError: if k < 1, or no query has a positive.

    Example:
        >>> mean_reciprocal_rank(torch.tensor([[1], [2]])), mean_reciprocal_rank(torch.tensor([[1], [2]]), k=1)
        (0.75, 0.5)
    """
    best = best_ranks(ranks)
    reciprocal = best.double().reciprocal()
    if k is not None:
        _check_k(k)
        reciprocal = reciprocal * (best <= k)
    return reciprocal.mean().item()


def precision_at(ranks: Tensor, k: int) -> Tensor:
    """The share of the first k rows that are right, of every query.

        P@k = #{ i : rank_i <= k } / k

    A query with fewer than k positives cannot reach 1; `r_precision` asks for no more than there are.

    Args:
        ranks: `[Q, P]`, of all positives.
        k: at least 1; may exceed the gallery, whose missing rows count as wrong.

    Returns:
        `[Q]` float64, 0 to 1; NaN for a query without positive.

    Raises:
        ValueError: if k < 1.

    Example:
        >>> precision_at(torch.tensor([[1, 4], [2, 0]]), k=2)
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    _check_k(k)
    return (_found(ranks, k) / k).masked_fill(ranks[:, 0] == 0, torch.nan)


def r_precision(ranks: Tensor) -> Tensor:
    """The share of the first p rows that are right, p being the number of the query's positives.

        R-Precision = #{ i : rank_i <= p } / p

    A perfect ranking reaches 1 whatever p. With one positive it is recall at 1.

    Args:
        ranks: `[Q, P]`, of all positives.

    Returns:
        `[Q]` float64, 0 to 1; NaN for a query without positive.

    Example:
        >>> r_precision(torch.tensor([[1, 4], [2, 0]]))
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    possible = (ranks > 0).sum(1)
    return _found(ranks, possible[:, None]) / possible


def average_precision(ranks: Tensor, k: int | None = None) -> Tensor:
    """Average precision of every query, over all of its positives or those among the first k.

        AP   = 1 / p           * sum over i of          i / rank_i
        AP@k = 1 / min(p, k)   * sum over rank_i <= k of i / rank_i

    with p the number of positives and i / rank_i the precision where the i-th of them stands. The
    divisor of AP@k lets a perfect ranking reach 1 whatever p (some libraries divide by the positives found,
    which rewards finding few). It is that of INQUIRE (Vendrow et al. 2024, arXiv 2411.02537).

    Args:
        ranks: `[Q, P]`.
        k: at least 1; None for all.

    Returns:
        `[Q]` float64, 0 to 1; NaN for a query without positive.

    Raises:
        ValueError: if k < 1.

    Example:
        >>> average_precision(torch.tensor([[1, 4]]))
        tensor([0.7500], dtype=torch.float64)
    """
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    counted, possible = ranks > 0, (ranks > 0).sum(1)
    if k is not None:
        _check_k(k)
        counted, possible = counted & (ranks <= k), possible.clamp(max=k)
    precision = place.double() / ranks.clamp(min=1)
    return (precision * counted).sum(1) / possible


def mean_average_precision(ranks: Tensor, k: int | None = None) -> float:
    """mAP or mAP@k: the mean over queries of `average_precision`, 0 to 1.

    Raises:
        ValueError: if k < 1, or no query has a positive.
    """
    best_ranks(ranks)
    return average_precision(ranks, k).nanmean().item()


def chance_recall(k: int, *, gallery: int, positives: Tensor) -> float:
    """What `recall_at(k)` expects of a ranking at random, averaged over the queries with a positive.

        chance = 1 - C(N - p, k) / C(N, k) = 1 - product over i < k of (1 - p / (N - i))

    The product is summed as `log1p`: a difference of log-gammas near N log N would lose the small
    chances (1 in a million) to cancellation.

    Args:
        k: at least 1; may exceed the gallery.
        gallery: N, at least 1.
        positives: `[Q]` integers, the number of positives of each query, at most N.

    Returns:
        0 to 1.

    Raises:
        ValueError: if k < 1, a query has more positives than the gallery has rows, or none has any.

    Example:
        >>> round(chance_recall(1, gallery=1000, positives=torch.tensor([5])), 6)
        0.005
    """
    _check_k(k)
    p, queries = positives[positives > 0].unique(return_counts=True)
    if not len(p) or p[-1] > gallery:
        raise ValueError(f"positives must be at most the gallery of {gallery}, and above 0 for some query: {positives}")
    left = torch.arange(gallery, max(gallery - k, 0), -1, device=p.device).double()  # [min(k, N)]
    miss = torch.log1p(-(p[:, None] / left).clamp(max=1)).sum(1)
    return ((-torch.expm1(miss) * queries).sum() / queries.sum()).item()


def check_no_nan(scores: Tensor, *, first_query: int = 0) -> None:
    """Refuse scores `[Q, N]` that hold a NaN, for it compares as neither better nor worse and could rank anywhere.

    Raises:
        ValueError: says how many there are and where the first is, counting queries from `first_query`.
    """
    bad = scores.isnan()
    if bad.any():
        query, row = bad.nonzero().unbind(1)
        raise ValueError(
            f"{len(query)} of {scores.numel()} scores are NaN, in {len(query.unique())} of {len(scores)} queries; the "
            f"first is of query {first_query + int(query[0])} and gallery row {int(row[0])}. A NaN cannot be ranked: "
            "look for it in the embeddings of those two rows, or in the scorer"
        )


def _comparable(scores: Tensor) -> Tensor:
    """Scores in a dtype that every sort and search takes; exact (float32 holds any half, float64 any small integer)."""
    if scores.dtype in (torch.float32, torch.float64):
        return scores
    return scores.float() if scores.is_floating_point() else scores.double()


def _sort_rows(scores: Tensor) -> Tensor:
    """`scores` with each row ascending. On a CPU NumPy's vectorised sort is 15 times as fast as PyTorch's."""
    if scores.device.type != "cpu":
        return scores.sort(1).values
    return torch.from_numpy(np.sort(scores.detach().numpy(), axis=1))


def _at_least(ascending: Tensor, values: Tensor) -> Tensor:
    """How many of each row of `ascending` `[Q, N]` are >= each of `values` `[Q, P]`: `[Q, P]` int64."""
    return ascending.shape[1] - torch.searchsorted(ascending, values.contiguous())


def _found(ranks: Tensor, depth: Tensor | int) -> Tensor:
    """How many positives of each query stand no lower than `depth`: `[Q]` float64."""
    return ((ranks > 0) & (ranks <= depth)).sum(1).double()


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
