"""Group-balanced: rows of small groups come more often than they would by themselves, rows of large ones less often.

    share(g)  =  size(g)^power  /  sum over groups h of size(h)^power

An epoch has as many rows as the table. Every group goes through its rows in a shuffled order, to the end, and then
again in a new one; where it stops in one epoch it goes on in the next, so no row of a large group is left out for
good. Use it where a few kinds (a class, a language, a source) fill the table and the rare ones count; with very
small groups and power 0 their few rows come very often, and the model learns them by heart: take power 0.5.

Sources: power 0.5 as in Mahajan et al. 2018, arXiv 1805.00932 (hashtags); other powers as in Conneau & Lample 2019,
arXiv 1901.07291 (languages); power 0 as in Idrissi et al. 2021, arXiv 2110.14503 (groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.training.sampler import Epoch, batches_of, in_batches
from diptych.training.samplers.columns import groups


@dataclass(frozen=True)
class Balanced:
    """Rows of each group by its share.

    Attributes:
        column: of the table; rows with equal values are a group, and so are those without a value.
        power: of the groups' sizes: 0 gives all groups the same share, 1 leaves the shares as they are.
        stratified: whether each batch has its share of every group, rather than only the epoch.

    Raises:
        ValueError: when it is built with a power outside 0 to 1; when it is called, if the column is missing or
            holds lists.

    Example:
        >>> epoch = Epoch(8, columns={"kind": np.array(list("aaaaaabb"))})
        >>> rows = np.concatenate(Balanced("kind")(epoch, 4))
        >>> int((rows >= 6).sum()), sorted(rows[rows >= 6].tolist())
        (4, [6, 6, 7, 7])
    """

    column: str
    power: float = 0.0
    stratified: bool = False

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("Balanced needs the name of a column")
        if not 0 <= self.power <= 1:
            raise ValueError(f"power is {self.power}; expected 0 (equal shares) to 1 (shares as they are)")

    @property
    def columns(self) -> tuple[str, ...]:
        """The groups' column."""
        return (self.column,)

    def count(self, rows: int, batch_size: int, *, number: int = 0, of: int = 1) -> int:
        """As many rows as the table has, over `batch_size`, rounded up."""
        return batches_of(rows, batch_size)

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        codes, _ = groups(epoch, self.column)
        sizes = np.bincount(codes)
        begin, end = (_taken(sizes, self.power, n) for n in (epoch.number, epoch.number + 1))
        rows = _draw(codes, sizes, begin, end, epoch.phase_seed())
        random = epoch.random()
        if not self.stratified:
            return in_batches(rows[random.permutation(len(rows))], batch_size)
        # A group's k rows are spread evenly over the epoch, from a place of its own within the first k-th.
        taken = end - begin
        within = np.arange(len(rows)) - np.repeat(np.cumsum(taken) - taken, taken)
        place = (within + np.repeat(random.random(len(sizes)), taken)) / np.repeat(taken, taken)
        return in_batches(rows[np.argsort(place, kind="stable")], batch_size)


def _taken(sizes: np.ndarray, power: float, epochs: int) -> np.ndarray:
    """How many rows of each group have been taken after so many epochs: `[G]` int64, the table's rows times `epochs`.

    Each is its share rounded up or down. As a share of a table is never below one row, none of them ever falls.
    """
    weights = sizes.astype(np.float64) ** power
    edges = np.cumsum(weights) / weights.sum()
    edges[-1] = 1.0
    return np.diff(np.floor(epochs * int(sizes.sum()) * edges + 0.5).astype(np.int64), prepend=0)


def _draw(codes: np.ndarray, sizes: np.ndarray, begin: np.ndarray, end: np.ndarray, seed: int) -> np.ndarray:
    """The rows that stand at places `begin` to `end` of each group's endless row of shuffled passes, group by group."""
    first = begin // sizes
    passes = np.where(end > begin, -(-end // sizes) - first, 0)
    row = np.repeat(np.arange(len(codes)), passes[codes])
    repeat = np.arange(len(row)) - np.repeat(np.cumsum(passes[codes]) - passes[codes], passes[codes])
    group = codes[row]
    number = first[group] + repeat
    order = np.lexsort((_noise(row, number, seed), number, group))
    starts = np.cumsum(passes * sizes) - passes * sizes
    place = np.arange(len(row)) - starts[group[order]] + (first * sizes)[group[order]]
    wanted = (place >= begin[group[order]]) & (place < end[group[order]])
    return row[order][wanted]


def _noise(row: np.ndarray, number: np.ndarray, seed: int) -> np.ndarray:
    """uint64 noise of (row, number of the pass, seed): splitmix64's finaliser (Steele, Lea & Flood 2014), twice."""
    return _mix(_mix(row.astype(np.uint64) + np.uint64(seed)) + number.astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
