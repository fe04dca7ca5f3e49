"""Where a score is too low for a match: the value of going without that gets most known answers right.

    best_unmatched = argmax_u  #{ i : match(scores, u)_i = right_i },     right_i = -1 where the answer is not there

A query whose row is missing still has a best row, and takes it from another. Matchers take `unmatched`, what a query
without a row counts for, and this chooses it on queries whose answers are known. Use it before an open-set match, on
data of the same kind: scores of another model, or a larger gallery, want another value.

Source: the open-set setting of Llabrés et al. 2024, arXiv 2407.19812; the rule is ours.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor

S = TypeVar("S", contravariant=True)


class Matcher(Protocol[S]):
    """`assign`, `assign_shortlisted`, or one's own: the row of each query, -1 where it has none."""

    def __call__(self, scores: S, /, *, unmatched: float | None = None) -> Tensor: ...


def best_unmatched(match: Matcher[S], scores: S, right: Tensor, candidates: Tensor, *, tried: int = 32) -> float:
    """The value of `unmatched` with most right answers; of equals the middle one.

    Args:
        match: what is to be used with it.
        scores: of Q queries, as `match` takes them.
        right: `[Q]` int64, the row of each query; -1 where it has none.
        candidates: scores of which quantiles are tried, such as each query's best, in any shape.
        tried: how many, at least 2.

    Raises:
        ValueError: if there are no finite candidates, or too few are to be tried.

    Example:
        >>> from diptych.scoring import assign
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
        >>> value = best_unmatched(assign, scores, torch.tensor([0, -1]), scores.amax(1))
        >>> 0.3 < value < 0.9
        True
    """
    finite = candidates[candidates.isfinite()].double().flatten()
    if tried < 2 or not len(finite):
        raise ValueError(f"{tried} of {len(finite)} finite candidates are to be tried; at least 2, and 1, are needed")
    low, high = finite.min() - 1e-6, finite.max() + 1e-6
    values = torch.linspace(0, 1, tried, dtype=torch.float64) * (high - low) + low
    values = torch.cat([values, finite.quantile(torch.linspace(0, 1, tried, dtype=torch.float64))]).unique().tolist()
    answers = [int((match(scores, unmatched=value).cpu() == right.cpu()).sum()) for value in values]
    best = [value for value, count in zip(values, answers, strict=True) if count == max(answers)]
    return best[len(best) // 2]
