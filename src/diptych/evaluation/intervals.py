"""How far a mean could be off by the luck of which queries were asked: percentile bootstrap intervals.

The queries are drawn again with repetition, many times; the interval holds the middle 95 % of the means. Texts of one
image are drawn together, since they are right and wrong together: as single queries they would promise too much.

Source: Efron & Tibshirani 1993, chapter 13 (percentile interval); Field & Welsh 2007 (drawing whole clusters).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

DRAWS = 1000


def interval(
    values: Tensor,
    *,
    strata: Tensor | None = None,
    clusters: np.ndarray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of `mean_of(values, strata)`.

    Args:
        values: `[Q]`, NaN where a query has none.
        strata: as in `mean_of`. A draw in which one has no query is the mean of the others.
        clusters: `[Q]` integers from 0: queries of one are drawn together; None where each is on its own.
        draws: how many times.
        seed: of the draws.

    Returns:
        (low, high); NaN where fewer than two clusters have a value.

    Example:
        >>> import torch
        >>> interval(torch.ones(50))
        (1.0, 1.0)
    """
    known = ~values.isnan().numpy()
    value = values.double().numpy()[known]
    own = np.arange(len(values)) if clusters is None else clusters
    cluster = np.unique(own[known], return_inverse=True)[1]
    count = int(cluster.max(initial=-1)) + 1
    if count < 2:
        return float("nan"), float("nan")
    stratum = np.zeros(len(value), np.int64) if strata is None else strata.numpy()[known]
    random, means = np.random.default_rng(seed), np.empty(draws)
    for draw in range(draws):
        weight = np.bincount(random.integers(0, count, count), minlength=count)[cluster]
        means[draw] = _weighted(value, stratum, weight)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def mean_of(values: Tensor, strata: Tensor | None = None) -> float:
    """The mean of what is not NaN; with strata, the mean over them of the mean of each.

    Args:
        values: `[Q]`.
        strata: `[Q]` int64; -1 for queries of none, which are left out.

    Example:
        >>> import torch
        >>> mean_of(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0, 0, 1]))
        0.5
    """
    known = ~values.isnan().numpy()
    value = values.double().numpy()[known]
    stratum = np.zeros(len(value), np.int64) if strata is None else strata.numpy()[known]
    return _weighted(value, stratum, np.ones(len(value))) if len(value) else float("nan")


def _weighted(value: np.ndarray, stratum: np.ndarray, weight: np.ndarray) -> float:
    if (stratum < 0).any():
        value, weight, stratum = (one[stratum >= 0] for one in (value, weight, stratum))
    total, counted = np.bincount(stratum, weight * value), np.bincount(stratum, weight)
    return float((total[counted > 0] / counted[counted > 0]).mean())
