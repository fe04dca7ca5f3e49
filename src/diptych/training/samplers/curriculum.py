"""Curriculum: the first epochs see only the best rows by a score, later ones more and more of the table.

    share(e)  =  min(1, start + (1 - start) * e / (warm * epochs))          of the rows, for epoch e from 0

The best rows are those of the highest scores (how well image and text fit, by a trained model) or, with `low_first`,
of the lowest (length, loss). Early epochs are shorter by that share. Use it on noisy collections or where the time
is short; on clean data with time enough it has been found to change little (Wu et al.).

Sources: Bengio et al. 2009, ICML; the linear form is Platanios et al. 2019, arXiv 1903.09848; when it helps: Wu,
Dyer & Neyshabur 2020, arXiv 2012.03107.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diptych.training.sampler import Epoch, batches_of, in_batches
from diptych.training.samplers.columns import numbers


@dataclass(frozen=True)
class Curriculum:
    """The best rows first, then more and more.

    Attributes:
        column: of scores, of the table or of a survey.
        start: share of the rows that the first epoch sees, above 0.
        warm: share of the phase's epochs after which all rows are seen; 0 sees all from the first on.
        low_first: whether low scores are the best.

    Raises:
        ValueError: when it is built with shares out of range; when it is called, if the column is missing, does not
            hold one number a row, or has values that are not finite.

    Example:
        >>> epoch = Epoch(4, number=0, of=4, columns={"score": np.array([0.1, 0.9, 0.5, 0.7])})
        >>> sorted(np.concatenate(Curriculum("score", start=0.5)(epoch, 8)).tolist())
        [1, 3]
    """

    column: str
    start: float = 0.2
    warm: float = 0.5
    low_first: bool = False

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("Curriculum needs the name of a column")
        if not 0 < self.start <= 1:
            raise ValueError(f"start is {self.start}; it is a share of the rows, above 0 and up to 1")
        if not 0 <= self.warm <= 1:
            raise ValueError(f"warm is {self.warm}; it is a share of the epochs, 0 to 1")

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores' column."""
        return (self.column,)

    def rows_of(self, rows: int, *, number: int, of: int) -> int:
        """How many of `rows` epoch `number` of `of` sees: at least one."""
        grown = 1.0 if self.warm * of <= number else number / (self.warm * of)
        return min(rows, math.ceil(round(rows * (self.start + (1 - self.start) * grown), 6)))

    def count(self, rows: int, batch_size: int, *, number: int = 0, of: int = 1) -> int:
        """The rows of that epoch over `batch_size`, rounded up."""
        return batches_of(self.rows_of(rows, number=number, of=of), batch_size)

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        scores = numbers(epoch, self.column)
        # Equal scores are ranked by chance, in the same way in every epoch: what was seen once is seen from then on.
        chance = np.random.default_rng(epoch.phase_seed()).random(epoch.rows)
        best = np.lexsort((chance, scores if self.low_first else -scores))
        seen = best[: self.rows_of(epoch.rows, number=epoch.number, of=epoch.of)]
        return in_batches(seen[epoch.random().permutation(len(seen))], batch_size)
