"""How the shards of a stream are dealt to processes, in which order, and what is left of an epoch at each place.

Shards come in an order drawn from (key, epoch). Of every `size` in a row each process reads one; where the last are
fewer than `size`, all processes read them and take turns at their pairs. Pairs then go through a buffer: the
next one out is drawn at random from those in it, and the one that comes in takes its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def shard_order(shards: int, key: Sequence[int], epoch: int, turn: int) -> np.ndarray:
    """The numbers of the shards in the order of an epoch's first reading of them (`turn` 0), its second ..."""
    return np.random.default_rng([*key, epoch, turn]).permutation(shards)


def part_of(at: int, shards: int, pairs: int, *, rank: int, size: int) -> range:
    """Which of the `pairs` of the shard at place `at` of the order one of `size` processes takes.

    Example:
        Of 3 shards with 5 pairs each, two processes take one whole each and share the third.

        >>> [[list(part_of(at, 3, 5, rank=rank, size=2)) for at in range(3)] for rank in range(2)]
        [[[0, 1, 2, 3, 4], [], [0, 2, 4]], [[], [0, 1, 2, 3, 4], [1, 3]]]
    """
    if at < shards - shards % size:
        return range(pairs if at % size == rank else 0)
    return range((rank - at) % size, pairs, size)


def pairs_left(counts: np.ndarray, *, size: int) -> np.ndarray:
    """How many pairs each process has left from each place of the order on, and at its end: `[shards + 1, size]`.

    Args:
        counts: pairs of each shard, in the order.
        size: number of processes.

    Example:
        >>> pairs_left(np.array([5, 5, 5]), size=2).tolist()
        [[8, 7], [3, 7], [3, 2], [0, 0]]
    """
    taken = [
        [len(part_of(at, len(counts), int(pairs), rank=rank, size=size)) for rank in range(size)]
        for at, pairs in enumerate(counts)
    ]
    return np.cumsum([[0] * size, *taken[::-1]], axis=0)[::-1]


def batches_for(pairs: np.ndarray, batch_size: int) -> np.ndarray:
    """How many batches it takes until no process has pairs left: `[..., size]` pairs to `[...]`.

    Example:
        >>> batches_for(np.array([[8, 7], [3, 7]]), 4).tolist()  # two of a process in a batch
        [4, 4]
    """
    size = pairs.shape[-1]
    capacity = np.array([len(range(rank, batch_size, size)) for rank in range(size)])
    return (-(-pairs // capacity)).max(-1)


def evenly(pairs: int, batches: int) -> list[int]:
    """How many of the pairs to take in each batch, nearly as many in each.

    Example:
        >>> evenly(8, 3)
        [2, 3, 3]
    """
    return [pairs * (i + 1) // batches - pairs * i // batches for i in range(batches)]


@dataclass
class Open:
    """Which places of the order a process is not done with.

    Attributes:
        pending: place -> pairs that are in no batch yet, and one more while it is being read.
        reached: what lies before this and is not pending is done with.
    """

    pending: Counter[int] = field(default_factory=Counter)
    reached: int = 0

    def add(self, place: int, pairs: int) -> None:
        """More pairs of a place, or fewer."""
        self.pending[place] += pairs
        if not self.pending[place]:
            del self.pending[place]

    def first(self) -> int:
        """The first place that is not done with."""
        return min(self.pending, default=self.reached)


def shuffled(items: Iterable[T], buffer: int, random: np.random.Generator) -> Iterator[T]:
    """The items, each drawn from the next `buffer` of them."""
    held: list[T] = []
    for item in items:
        if len(held) < buffer:
            held.append(item)
        else:
            at = int(random.integers(buffer))
            held[at], item = item, held[at]
            yield item
    for at in random.permutation(len(held)):
        yield held[at]


def chunks(items: Iterable[T], length: int) -> Iterator[list[T]]:
    """The items in lists of `length`, the last one shorter."""
    rest = iter(items)
    while chunk := list(islice(rest, length)):
        yield chunk
