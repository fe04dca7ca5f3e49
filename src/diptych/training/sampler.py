"""Which rows go into which batch: a function of (seed, phase, epoch) and of columns, so resuming needs no state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Epoch:
    """What a sampler may know.

    Attributes:
        rows: how many the table has.
        number: of this epoch, from 0.
        of: epochs of the phase.
        key: what the order depends on: (seed, phase, epoch); without the last it is the same in all epochs of a phase.
        lengths: `[rows]`, tokens of each row's texts on average; None where they are not known.
        columns: the sampler's `columns`, of the table or of surveys: name -> `[rows, ...]`.
    """

    rows: int
    number: int = 0
    of: int = 1
    key: tuple[int, ...] = (0,)
    lengths: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def random(self, stream: int = 1) -> np.random.Generator:
        """Randomness of this epoch alone."""
        return np.random.default_rng([*self.key, stream])

    def phase_seed(self) -> int:
        """A seed in [0, 2^64) that all epochs of the phase share, for orders that go on from epoch to epoch."""
        return int(np.random.SeedSequence([*self.key[:-1], len(self.key)]).generate_state(1, np.uint64)[0])


class Sampler(Protocol):
    """Frozen dataclasses: their fields are their configuration."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        ...

    def count(self, rows: int, batch_size: int, *, number: int, of: int) -> int:
        """How many batches epoch `number` of `of` has, known before any column is: the learning rate depends on it."""
        ...

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        """The rows of each batch of the epoch, `count` of them."""
        ...


def batches_of(rows: int, batch_size: int) -> int:
    """How many batches of nearly equal size, none above `batch_size`, hold `rows` rows."""
    return -(-rows // batch_size)


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in their order, cut into batches whose sizes differ by one at most."""
    return np.array_split(rows, batches_of(len(rows), batch_size))


@dataclass(frozen=True)
class Shuffled:
    """Every row once, in batches of nearly equal size.

    Attributes:
        bucket: how many batches' rows are sorted by text length together, so that less padding is computed; 1 sorts
            none.

    Example:
        >>> [len(batch) for batch in Shuffled()(Epoch(10), 4)]
        [4, 3, 3]
    """

    bucket: int = 1

    def __post_init__(self) -> None:
        if self.bucket < 1:
            raise ValueError(f"bucket is {self.bucket}; it counts batches, from 1 (which sorts none)")

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    def count(self, rows: int, batch_size: int, *, number: int = 0, of: int = 1) -> int:
        """All rows over `batch_size`, rounded up."""
        return batches_of(rows, batch_size)

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        random = epoch.random()
        batches = in_batches(random.permutation(epoch.rows), batch_size)
        if epoch.lengths is None or self.bucket <= 1:
            return batches
        out: list[np.ndarray] = []
        for start in range(0, len(batches), self.bucket):
            parts = batches[start : start + self.bucket]
            joined = np.concatenate(parts)
            joined = joined[np.argsort(epoch.lengths[joined], kind="stable")]
            out += np.split(joined, np.cumsum([len(part) for part in parts])[:-1])
        return [out[i] for i in random.permutation(len(out))]
