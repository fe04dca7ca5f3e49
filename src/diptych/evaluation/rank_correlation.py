"""How far two lists put the same items in the same order: Kendall's tau-b and tau-c, and Spearman's rho.

    C, D = pairs of items that both lists order alike, and contrariwise; a pair tied in either is neither
    tau_b = (C - D) / sqrt((pairs - pairs tied in x) (pairs - pairs tied in y))
    tau_c = 2 m (C - D) / (n^2 (m - 1)),   m = the fewer of the distinct values of x and of y
    rho   = Pearson's correlation of ranks, tied items at their mean rank

Use tau-b where both lists are scales of like length, tau-c where one has few grades and the other many (its value can
then still come near 1). All in n log^2 n, so that fifty thousand judgements take less than a second.

Sources: Kendall 1945 (Biometrika 33), Stuart 1953 (Biometrika 40), Knight 1966 (JASA 61, the counting).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def kendall_tau_b(x: ArrayLike, y: ArrayLike) -> float:
    """Tau-b, -1 to 1; NaN if all of x or all of y is one value.

    Args:
        x, y: `[n]` real numbers, n at least 2.

    Raises:
        ValueError: if they differ in length, there are fewer than two, or one is NaN.

    Example:
        >>> round(kendall_tau_b([1, 2, 3, 4], [1, 3, 2, 4]), 3)
        0.667
    """
    x, y = _checked(x, y)
    difference, pairs, tied_x, tied_y = _concordant_less_discordant(x, y)
    below = float((pairs - tied_x) * (pairs - tied_y)) ** 0.5
    return difference / below if below else float("nan")


def kendall_tau_c(x: ArrayLike, y: ArrayLike) -> float:
    """Tau-c, -1 to 1; NaN if all of x or all of y is one value. Arguments and errors as of `kendall_tau_b`.

    Example:
        >>> round(kendall_tau_c([0.1, 0.2, 0.3, 0.4], [1, 1, 2, 2]), 3)
        1.0
    """
    x, y = _checked(x, y)
    fewer = min(len(np.unique(x)), len(np.unique(y)))
    if fewer < 2:
        return float("nan")
    difference = _concordant_less_discordant(x, y)[0]
    return 2 * fewer * difference / (len(x) ** 2 * (fewer - 1))


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Rho, -1 to 1; NaN if all of x or all of y is one value. Arguments and errors as of `kendall_tau_b`.

    Example:
        >>> round(spearman([1, 2, 3, 4], [1, 4, 9, 16]), 3)
        1.0
    """
    first, second = (_mean_ranks(one) for one in _checked(x, y))
    first, second = first - first.mean(), second - second.mean()
    below = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / below if below else float("nan")


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"expected two lists of the same length, at least 2, not {x.shape} and {y.shape}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError(f"{int((np.isnan(x) | np.isnan(y)).sum())} of {len(x)} items have a NaN, which has no order")
    return x, y


def _concordant_less_discordant(x: NDArray[Any], y: NDArray[Any]) -> tuple[int, int, int, int]:
    """C - D, all pairs, pairs tied in x, pairs tied in y."""
    order = np.lexsort((y, x))
    x, y = x[order], np.unique(y[order], return_inverse=True)[1]
    pairs = len(x) * (len(x) - 1) // 2
    tied_x, tied_y = _tied(x[:, None]), _tied(y[:, None])
    tied_both = _tied(np.stack([x, y], 1))
    # Sorted by x, and by y where x ties: what y has the wrong way round is discordant, and nothing else is.
    return pairs - tied_x - tied_y + tied_both - 2 * _inversions(y), pairs, tied_x, tied_y


def _tied(rows: NDArray[Any]) -> int:
    count = np.unique(rows, axis=0, return_counts=True)[1].astype(np.int64)
    return int((count * (count - 1) // 2).sum())


def _inversions(y: NDArray[Any]) -> int:
    """Pairs i < j with y_i > y_j, of whole numbers from 0, by merging sorted blocks of twice the size at each level."""
    places = np.arange(len(y))
    above, found, size = int(y.max()) + 1, 0, 1
    while size < len(y):
        block = places // (2 * size)
        key = block * above + y  # sorted within halves, and blocks one above the other: one search serves all
        left = places // size % 2 == 0
        lefts = key[left]
        no_more = np.searchsorted(lefts, key[~left], side="right")
        own = np.searchsorted(lefts, (block[~left] + 1) * above)  # all up to the end of the block
        found += int((own - no_more).sum())
        order = np.argsort(key, kind="stable")
        y = y[order]
        size *= 2
    return found


def _mean_ranks(x: NDArray[Any]) -> NDArray[Any]:
    _, group, count = np.unique(x, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return (last - (count - 1) / 2)[group]
