"""A cascade: a fast scorer ranks everything, and a slow one ranks the first of that again.

    score(q, g) = second(q, g)                              for the `depth` rows g that first(q, .) likes best
                = first(q, g) - c(q)                        for the rest, c(q) such that all of them come after

Use it where the second scorer is too dear for all pairs: late interaction after a dot product, a cross-encoder after
either. What the first leaves out of its `depth` the second cannot bring back, so measure the first's recall there.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class Cascade(Scorer):
    """Ranks with one scorer, and the best of that with another.

    Args:
        first: scores all pairs.
        second: scores those of each query with its `depth` best rows, by `pairs`; finite.
        depth: rows of each query that are ranked again; all of a smaller gallery.
        batch: pairs given to `second` at a time.

    Scores of the rest are those of `first`, lowered by as much as it takes for each query; differences among them
    below the rounding of the result's scores are lost. `pairs`, which has no gallery to rank, is the second's.
    """

    def __init__(self, first: Scorer, second: Scorer, *, depth: int = 100, batch: int = 4096) -> None:
        super().__init__()
        if depth < 1 or batch < 1:
            raise ValueError(f"depth is {depth} and batch is {batch}; both must be at least 1")
        self.first, self.second, self.depth, self.batch = first, second, depth, batch

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        scores = self.first(queries, gallery)  # [Q, N]
        if not scores.numel():
            return scores
        depth = min(self.depth, len(gallery))
        best = scores.topk(depth, dim=1).indices  # [Q, depth]
        again = self._again(queries, gallery, best).to(scores.dtype)
        lowest = again.detach().min(1).values
        limits = torch.finfo(scores.dtype)
        highest = scores.detach().scatter(1, best, limits.min).max(1).values  # of the rest
        apart = 1 + 4 * limits.eps * (lowest.abs() + highest.abs())  # still there after rounding
        lower = (highest - lowest + apart).clamp(min=0)
        return (scores - lower[:, None]).scatter(1, best, again)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.second.pairs(a, b)

    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        self.first.fit(gallery, queries)
        self.second.fit(gallery, queries)
        return self

    def _again(self, queries: Embedding, gallery: Embedding, rows: Tensor) -> Tensor:
        """The second's scores of query i with gallery rows `rows[i]`: `[Q, depth]`."""
        owner = torch.arange(len(rows), device=rows.device).repeat_interleave(rows.shape[1])
        parts = zip(owner.split(self.batch), rows.flatten().split(self.batch), strict=True)
        return torch.cat([self.second.pairs(queries[i], gallery[j]) for i, j in parts]).view(rows.shape)
