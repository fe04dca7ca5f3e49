"""What scorers share that correct another by a gallery and a bank of queries: they keep both, and measure rows by them.

What `fit` keeps is no weight: it is not in a checkpoint, and is fitted again to the gallery that is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class Banked(Scorer):
    """Base of scorers that correct another one.

    Args:
        scorer: what is corrected.
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer
        self._gallery: Embedding | None = None
        self._bank: Embedding | None = None
        self._measured: Tensor | None = None

    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        """Keep a gallery and a bank of queries.

        Args:
            gallery: the rows that will be searched.
            queries: like those that will be asked, e.g. the training set's; not their answers.

        Raises:
            ValueError: if either is empty, or there is no bank and the scorer needs one.
        """
        if not len(gallery) or (queries is not None and not len(queries)):
            raise ValueError(
                f"{type(self).__name__}.fit needs rows; it got {len(gallery)} of the gallery and "
                f"{'no bank' if queries is None else len(queries)} of queries"
            )
        self.scorer.fit(gallery, queries)
        self._gallery, self._bank, self._measured = gallery, queries, None
        with torch.no_grad():
            self._measured = self.measure(gallery)
        return self

    def measure(self, rows: Embedding) -> Tensor:
        """What the correction needs of each of N rows, by the bank: led by N."""
        raise NotImplementedError

    def measured(self, rows: Embedding) -> Tensor:
        """`measure`; of the very gallery that was fitted, a constant known already."""
        self.fitted()
        if rows is self._gallery and self._measured is not None:
            return self._measured
        return self.measure(rows)

    def fitted(self) -> Embedding:
        """The gallery.

        Raises:
            ValueError: if `fit` was not called.
        """
        if self._gallery is None:
            raise ValueError(f"{type(self).__name__} knows no gallery yet: call fit(gallery, queries) first")
        return self._gallery

    def bank(self) -> Embedding:
        """The queries.

        Raises:
            ValueError: if `fit` was given none.
        """
        if self._bank is None:
            raise ValueError(f"{type(self).__name__} needs a bank of queries: fit(gallery, queries)")
        return self._bank

    def bank_scores(self, rows: Embedding, chunk: int = 512) -> Iterator[Tensor]:
        """The scores of the bank's queries against N rows, `[B, N]` in all, some queries at a time."""
        bank = self.bank()
        for start in range(0, len(bank), chunk):
            yield self.scorer(bank[start : start + chunk], rows)
