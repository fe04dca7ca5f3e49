"""Corrections for hubs: rows of a gallery that come near the top for far more queries than they answer.

In spaces of many dimensions some rows are near to everything. Both corrections lower a row's scores by how well it
does with a bank of queries at large, such as the training set's, so that what is everybody's neighbour is nobody's:

    inverted softmax, QB-Norm:   s'(q, g) = 1/beta log( exp(beta s(q, g)) / mean_b exp(beta s(b, g)) )
    CSLS:                        s'(q, g) = 2 s(q, g) - r(q) - r(g)

b being the bank's queries, r(g) the mean score of row g with its k best queries of the bank, and r(q) that of a query
with its k best rows of the gallery. QB-Norm's dynamic form corrects only queries whose best row is a hub, one that is
the best of some query of the bank; the others' scores stay as they are.

Use them at test time, for a fixed gallery: fit, then rank. A bank of queries unlike those asked may do harm, which the
dynamic form limits. Scores of one query keep their meaning; scores of two queries cannot be compared.

Sources: Smith et al. 2017, arXiv 1702.03859 (inverted softmax); Bogolin et al. 2022, arXiv 2112.12777 (QB-Norm);
Conneau et al. 2018, arXiv 1710.04087 (CSLS).
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.scoring.banked import Banked


class InvertedSoftmax(Banked):
    """Scores against what a row scores with a bank of queries. Does not rank before `fit`.

    The paper divides by the sum over the bank, not its mean; the order of a query's rows is the same.

    Args:
        scorer: what is corrected.
        beta: how much the bank's best scores decide, times `scorer`'s scores. The authors' 20 is for cosines; give
            20 / scale for a `Dot` of that scale.
        dynamic: correct only queries whose best row is the best of a bank's query too (QB-Norm).

    Example:
        >>> rows = Embedding({"dense": torch.eye(2)})
        >>> bank = Embedding({"dense": torch.tensor([[0.8, 0.6], [0.9, 0.4]])})  # both like row 0 best
        >>> query = Embedding({"dense": torch.tensor([[0.8, 0.7]])})
        >>> from diptych.scoring import Dot
        >>> scorer = InvertedSoftmax(Dot(1.0)).fit(rows, bank)
        >>> Dot(1.0)(query, rows).argmax().item(), scorer(query, rows).argmax().item()
        (0, 1)
    """

    def __init__(self, scorer: Scorer, *, beta: float = 20.0, dynamic: bool = True) -> None:
        super().__init__(scorer)
        if beta <= 0:
            raise ValueError(f"beta is {beta}; it must be above 0")
        self.beta, self.dynamic = beta, dynamic
        self._is_hub: Tensor | None = None

    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        super().fit(gallery, queries)
        with torch.no_grad():
            best = torch.cat([scores.argmax(1) for scores in self.bank_scores(gallery)])
        self._is_hub = torch.zeros(len(gallery), dtype=torch.bool, device=best.device)
        self._is_hub[best] = True
        return self

    def measure(self, rows: Embedding) -> Tensor:
        """`1/beta log mean_b exp(beta s(b, g))`, `[N]`."""
        total: Tensor | None = None
        for scores in self.bank_scores(rows):
            part = torch.logsumexp(self.beta * scores, 0)
            total = part if total is None else torch.logaddexp(total, part)
        assert total is not None
        return (total - math.log(len(self.bank()))) / self.beta

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        measured, scores = self.measured(gallery), self.scorer(queries, gallery)
        if not self.dynamic:
            return scores - measured
        every = scores if gallery is self._gallery else self.scorer(queries, self.fitted())
        return torch.where(self._finds_a_hub(every)[:, None], scores - measured, scores)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        measured, scores = self.measured(b), self.scorer.pairs(a, b)
        if not self.dynamic:
            return scores - measured
        return torch.where(self._finds_a_hub(self.scorer(a, self.fitted())), scores - measured, scores)

    def _finds_a_hub(self, scores: Tensor) -> Tensor:
        """Whether each query's best row of the fitted gallery is a hub: `[Q]` bool."""
        assert self._is_hub is not None
        return self._is_hub.to(scores.device)[scores.argmax(1)]


class CSLS(Banked):
    """Cross-domain similarity local scaling. Does not rank before `fit`.

    Args:
        scorer: what is corrected; the paper's is the cosine.
        k: how many of the best count, of the bank's queries for a row and of the gallery's rows for a query.
    """

    def __init__(self, scorer: Scorer, *, k: int = 10) -> None:
        super().__init__(scorer)
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        self.k = k

    def measure(self, rows: Embedding) -> Tensor:
        """The mean of each row's k best scores with the bank, `[N]`."""
        best: Tensor | None = None
        for scores in self.bank_scores(rows):
            joined = scores if best is None else torch.cat([best, scores])
            best = joined.topk(min(self.k, len(joined)), dim=0).values
        assert best is not None
        return best.mean(0)

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        measured, scores = self.measured(gallery), self.scorer(queries, gallery)
        every = scores if gallery is self._gallery else self.scorer(queries, self.fitted())
        return 2 * scores - self._of_queries(every)[:, None] - measured

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        measured, scores = self.measured(b), self.scorer.pairs(a, b)
        return 2 * scores - self._of_queries(self.scorer(a, self.fitted())) - measured

    def _of_queries(self, scores: Tensor) -> Tensor:
        """The mean of each query's k best scores in the fitted gallery: `[Q]`."""
        return scores.topk(min(self.k, scores.shape[1]), dim=1).values.mean(1)


def occurrence_skew(scores: Tensor, k: int = 10) -> float:
    """The skewness of how often each row is among the k best of a query: 0 where all are alike, large where hubs are.

    Args:
        scores: `[Q, N]`.
        k: at most N.

    Returns:
        The third central moment over the cube of the deviation (Radovanović et al. 2010, JMLR 11); 0 if all rows
        occur equally often.
    """
    counts = torch.bincount(scores.topk(k, dim=1).indices.flatten(), minlength=scores.shape[1]).double()
    apart = counts - counts.mean()
    deviation = apart.square().mean().sqrt()
    return float((apart**3).mean() / deviation**3) if deviation > 0 else 0.0
