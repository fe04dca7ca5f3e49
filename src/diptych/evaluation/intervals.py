"""How far a mean could be off by the luck of which queries were asked: percentile bootstrap intervals.

The queries are drawn again with repetition, many times; the interval holds the middle 95 % of the means. Texts of one
image are drawn together, since they are right and wrong together: as single queries they would promise too much.

Source: Efron & Tibshirani 1993, chapter 13 (percentile interval); Field & Welsh 2007 (drawing whole clusters).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

DRAWS = 1000
CHUNK = 64


def intervals(
    items: Mapping[str, Tensor], groups: np.ndarray | None = None, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of the mean of each, NaN left out.

    Args:
        items: name -> `[Q]` values, all of the same queries.
        groups: `[Q]` integers, 0 to G-1: queries of one group are drawn together; None where each is on its own.
        draws: how many times.
        seed: of the draws.

    Returns:
        name -> (low, high); NaN where fewer than two groups have a value.

    Example:
        >>> import torch
        >>> intervals({"always": torch.ones(50)})
        {'always': (1.0, 1.0)}
    """
    if not items:
        return {}
    values = np.stack([one.double().numpy() for one in items.values()], 1)  # [Q, M]
    known = ~np.isnan(values)
    groups = np.arange(len(values)) if groups is None else groups
    size = int(groups.max(initial=-1)) + 1
    sums, counts = np.zeros((size, values.shape[1])), np.zeros((size, values.shape[1]))
    np.add.at(sums, groups, np.where(known, values, 0.0))
    np.add.at(counts, groups, known)
    used = counts.any(1)
    sums, counts = sums[used], counts[used]
    random, means = np.random.default_rng(seed), []
    for start in range(0, draws, CHUNK):
        times = min(CHUNK, draws - start)
        drawn = random.multinomial(len(sums), np.full(len(sums), 1 / max(len(sums), 1)), size=times).astype(float)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a draw has no value of one of them
            means.append((drawn @ sums) / (drawn @ counts))
    enough = (counts > 0).sum(0) > 1
    low, high = np.nanpercentile(np.concatenate(means), [2.5, 97.5], axis=0) if len(sums) else np.full((2, 1), np.nan)
    return {
        name: (float(low[i]), float(high[i])) if enough[i] else (float("nan"), float("nan"))
        for i, name in enumerate(items)
    }
