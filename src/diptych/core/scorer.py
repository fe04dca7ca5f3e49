"""A scorer says how well rows of one view fit rows of another."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding


class Scorer(nn.Module):
    """A part like any other, used in training, evaluation and search alike; higher means a better fit."""

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        """Score every query against every gallery row: `[Q, N]`."""
        raise NotImplementedError

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        """Score row i of `a` against row i of `b`: `[n]`. Default: one row at a time."""
        scores = [self(a[i : i + 1], b[i : i + 1]).reshape(1) for i in range(len(a))]
        return torch.cat(scores) if scores else torch.zeros(0)

    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        """Learn from a gallery what the scorer needs of it (hubness, statistics). Default: nothing."""
        return self
