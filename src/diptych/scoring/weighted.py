"""A weighted sum of scorers: several ways to compare the same two rows, each with its say.

    score(q, g) = sum over scorers k of  weight_k * score_k(q, g)

Use it where scorers see different things (vectors of pictures, words of attributes) and a few judged queries can set
the weights. Scores should be of like size: cosines, not logits and cosines.

Source: Fox & Shaw 1994, "Combination of multiple searches" (CombSUM); Asokan 2025 (F4-ITS), arXiv 2508.17037.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class Weighted(Scorer):
    """The weighted sum of what several scorers say.

    Args:
        scorers: at least one.
        weights: one for each.
    """

    def __init__(self, scorers: Sequence[Scorer], weights: Sequence[float]) -> None:
        super().__init__()
        if not scorers or len(scorers) != len(weights):
            raise ValueError(f"there are {len(scorers)} scorers and {len(weights)} weights; give a weight for each")
        self.each, self.weights = nn.ModuleList(scorers), [float(weight) for weight in weights]

    @property
    def scorers(self) -> list[Scorer]:
        """The constructor's argument."""
        return list(self.each)  # type: ignore[arg-type]

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        parts = [weight * one(queries, gallery) for weight, one in zip(self.weights, self.scorers, strict=True)]
        return torch.stack(parts).sum(0)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        parts = [weight * one.pairs(a, b) for weight, one in zip(self.weights, self.scorers, strict=True)]
        return torch.stack(parts).sum(0)

    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        for one in self.scorers:
            one.fit(gallery, queries)
        return self
