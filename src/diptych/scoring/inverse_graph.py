"""Inverse graph convolution: each row of the gallery moves away from its neighbours, and then is scored as before.

    x' = (n(x - r_g A_g x) + n(x - r_q A_q x)) / 2, again at unit length      n(v) = v / |v|

    A_g x = 1/k sum_{y among the k nearest of x in the gallery} <x, y> y,     A_q likewise in a bank of queries

Embeddings of a modality lie in a narrow cone, where what is right and what is nearly so differ little; convolution
over a graph of neighbours draws rows together, and its inverse draws them apart. That only the nearest count is the
authors' LocalAdj, with k a share of the rows. Use it at test time, for a fixed gallery. The rates r are to be chosen
on validation data: 0 leaves all as it is, and 1 can ruin a ranking, most of all where many rows are nearly alike.

A row is no neighbour of itself, nor of its exact copies, which could not be drawn apart. Queries stay where they are.

Source: Jian & Wang 2023, arXiv 2310.13276. There neighbours are rows of the training set; here the gallery given to
`fit` may be that or the one that is searched.

System: 258 (InvGC)
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.scoring.banked import Banked

COPY = 1 - 1e-6
"""A cosine from which two rows are one; unit vectors of a few hundred float32 are known to about 1e-7."""


class InverseGraphConvolution(Banked):
    """Scores a gallery that is spread by its neighbours. Does not rank before `fit`, whose bank may be None.

    Args:
        scorer: scores the spread rows.
        gallery_rate: r_g, of the neighbours in the gallery.
        query_rate: r_q, of those among the queries of the bank, if there is one.
        share: of the gallery, and of the bank, that are neighbours, 0 to 1; one row at least. The authors' code
            has 0.01; 1 takes all rows.
        space: which vectors are spread; of unit length.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        gallery_rate: float = 0.1,
        query_rate: float = 0.1,
        share: float = 0.01,
        space: str = "dense",
    ) -> None:
        super().__init__(scorer)
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; expected more than 0 and at most 1")
        self.gallery_rate, self.query_rate, self.share, self.space = gallery_rate, query_rate, share, space

    def measure(self, rows: Embedding) -> Tensor:
        """The rows' vectors, spread: `[N, D]`."""
        return torch.cat([self._spread(part) for part in rows.vectors[self.space].split(1024)])

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self.scorer(queries, self._moved(gallery))

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.scorer.pairs(a, self._moved(b))

    def _moved(self, rows: Embedding) -> Embedding:
        return replace(rows, vectors={**rows.vectors, self.space: self.measured(rows)})

    def _spread(self, x: Tensor) -> Tensor:
        away = self._away(x, self.fitted(), self.gallery_rate)
        if self._bank is None:
            return away
        return F.normalize(away + self._away(x, self.bank(), self.query_rate), dim=-1)

    def _away(self, x: Tensor, others: Embedding, rate: float) -> Tensor:
        """`n(x - rate A x)`, `[n, D]`."""
        y = others.vectors[self.space].to(x)
        similarity = x @ y.T
        k = max(1, int(self.share * len(y)))
        near = similarity.masked_fill(similarity >= COPY, -torch.inf).topk(k, dim=1)
        weights = near.values.masked_fill(near.values == -torch.inf, 0)
        adjacency = torch.zeros_like(similarity).scatter(1, near.indices, weights)  # [n, N]
        return F.normalize(x - rate / k * adjacency @ y, dim=-1)
