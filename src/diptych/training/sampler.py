"""Which rows go into which batch: a function of (seed, phase, epoch) alone, so resuming needs no state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shuffled_batches(
    count: int, batch_size: int, *, key: Sequence[int], lengths: np.ndarray | None = None, bucket: int = 1
) -> list[np.ndarray]:
    """Every row once, in batches of nearly equal size.

    Args:
        count: rows.
        batch_size: the most rows of a batch; without buckets sizes differ by one at most, so none is tiny.
        key: what the order depends on, e.g. (seed, phase, epoch).
        lengths: `[count]`, of each row's texts; with `bucket` > 1, rows of like length share a batch.
        bucket: how many batches' rows are sorted by length together.

    Returns:
        Arrays of row numbers.

    Example:
        >>> [len(batch) for batch in shuffled_batches(10, 4, key=(0, 0, 0))]
        [4, 3, 3]
    """
    random = np.random.default_rng([*key, 1])
    order = random.permutation(count)
    batches = -(-count // batch_size)
    if lengths is None or bucket <= 1:
        return np.array_split(order, batches) if count else []
    out: list[np.ndarray] = []
    for group in np.array_split(order, max(1, round(batches / bucket))):
        group = group[np.argsort(lengths[group], kind="stable")]
        out += np.array_split(group, -(-len(group) // batch_size))
    return [out[i] for i in random.permutation(len(out))]
