"""How well a ranking puts the better rows before the lesser ones, where rows are right to a degree: nDCG.

A row's gain is worth less the lower it stands, and the sum is divided by that of the best order there is:

    DCG@k  = sum over ranks r <= k of gain_r / log2(1 + r);   nDCG@k = DCG@k / DCG@k of the best order

Two gains are in use: the grade itself, and 2^grade - 1 (`exponential_gain`), which prefers one excellent row to
several fair ones. The grade itself is what is measured unless gains are given, for it was there first and is what
trec_eval, scikit-learn and torchmetrics compute; where grades are 0 and 1 the two agree.

Only rows that were judged are named, as columns beside their grades, so no `[Q, N]` matrix of grades is ever held; a
row not judged counts as graded 0. Ties are lost: of rows with equal scores the one of least gain stands first.

Use it where judgements have degrees, such as a click and a purchase, or one species and its genus. For right and wrong
alone `retrieval` says more.

Sources: Järvelin & Kekäläinen 2002 (ACM TOIS 20), doi 10.1145/582415.582418; the exponential gain, Burges et al. 2005
(ICML), doi 10.1145/1102351.1102363.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.evaluation import metrics
from diptych.evaluation.retrieval import checked_scores


@dataclass(frozen=True, eq=False)
class GradedReport:
    """What a graded retrieval measured. Queries without any gain are in `queries` but in no mean.

    Attributes:
        ndcg: k -> mean nDCG@k, 0 to 1.
        precision: k -> mean share of the first k rows with any gain, 0 to 1.
        map_at: k -> mean AP@k, every row with any gain taken for right, 0 to 1.
        r_precision: mean share of rows with gain among the first p, p their number, 0 to 1.
        mrr: mean reciprocal rank of the first row with any gain, 0 to 1.
        queries: Q.
        gallery: N.
        queries_without_positive: how many of Q have no row with any gain.
        per_query: k -> `[Q]` float64, nDCG@k of each query; NaN where it has no gain.
    """

    ndcg: dict[int, float]
    precision: dict[int, float]
    map_at: dict[int, float]
    r_precision: float
    mrr: float
    queries: int
    gallery: int
    queries_without_positive: int
    per_query: dict[int, Tensor]

    def to_json(self) -> dict[str, Any]:
        """The numbers, as `json.dumps` takes them: all but what is said of single queries."""
        at = {"ndcg": self.ndcg, "precision": self.precision, "map_at": self.map_at}
        return {
            **{name: {str(k): share for k, share in measure.items()} for name, measure in at.items()},
            "r_precision": self.r_precision,
            "mrr": self.mrr,
            "queries": self.queries,
            "gallery": self.gallery,
            "queries_without_positive": self.queries_without_positive,
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"t2i_ndcg@10": 0.41, ...}` for the prefix `"t2i"`."""
        at = {"ndcg": self.ndcg, "precision": self.precision, "map": self.map_at}
        line = {f"{name}@{k}": share for name, measure in at.items() for k, share in measure.items()}
        line |= {"r_precision": self.r_precision, "mrr": self.mrr}
        return {f"{prefix}_{name}": share for name, share in line.items()}


def exponential_gain(grades: Tensor) -> Tensor:
    """`2^grade - 1`, float64, in the shape of `grades`.

    Example:
        >>> exponential_gain(torch.tensor([0, 1, 3]))
        tensor([0., 1., 7.], dtype=torch.float64)
    """
    return torch.exp2(grades.double()) - 1


def graded_ranks(scores: Tensor, columns: Tensor, gains: Tensor, *, first_query: int = 0) -> tuple[Tensor, Tensor]:
    """The pessimistic rank of every row that has a gain, and its gain.

    Args:
        scores: `[Q, N]` of any real dtype, higher is better.
        columns: `[Q, P]` int64, the distinct columns of each query's judged rows, -1 pads.
        gains: `[Q, P]`, at least 0, what each is worth; what stands beside a -1 means nothing.
        first_query: what row 0 is called in errors, where `scores` is a chunk.

    Returns:
        ranks `[Q, P]` int64, 1-based, best first, 0 pads, as from `metrics.ranks_of`, and gains `[Q, P]` float64
        beside them, 0 beside a pad.

    Raises:
        ValueError: if shapes differ, a gain is negative or not finite, the gallery is empty, or a score is NaN.

    Example:
        >>> scores = torch.tensor([[0.9, 0.5, 0.5, 0.5]])
        >>> ranks, gains = graded_ranks(scores, torch.tensor([[1, 2, -1]]), torch.tensor([[3.0, 1.0, 0.0]]))
        >>> ranks.tolist(), gains.tolist()  # columns 0 and 3 have no gain, so stand before
        ([[3, 4, 0]], [[1.0, 3.0, 0.0]])
    """
    if gains.shape != columns.shape or columns.dim() != 2 or len(columns) != len(scores):
        raise ValueError(
            f"expected columns and gains [{len(scores)}, P] beside scores {tuple(scores.shape)}, "
            f"not {tuple(columns.shape)} and {tuple(gains.shape)}"
        )
    gains = gains.double().masked_fill(columns < 0, 0)
    wrong = ~((gains >= 0) & gains.isfinite())
    if wrong.any():
        query, place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"query {first_query + query} gives row {int(columns[query, place])} a gain of "
            f"{float(gains[query, place])}; gains are finite and at least 0: shift the grades so that the worst is 0"
        )
    columns = columns.masked_fill(gains == 0, -1)  # a row without gain ranks as one that was not judged
    ranks = metrics.ranks_of(scores, columns, first_query=first_query)
    pad = columns < 0
    # Two stable sorts put the scores in falling order and, among equals, the gains in rising order with pads last.
    order = gains.masked_fill(pad, torch.inf).argsort(dim=1, stable=True)
    own = scores.gather(1, columns.clamp(min=0)).double().masked_fill(pad, -torch.inf)
    order = order.gather(1, own.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return ranks, gains.gather(1, order)


def ndcg(ranks: Tensor, gains: Tensor, k: int | None = None) -> Tensor:
    """nDCG of every query, over all ranks or the first k.

    Args:
        ranks, gains: `[Q, P]` as from `graded_ranks`, of all rows with a gain: the best order is made of them.
        k: at least 1; None for all.

    Returns:
        `[Q]` float64, 0 to 1; NaN for a query without gain.

    Raises:
        ValueError: if k < 1.

    Example:
        >>> round(ndcg(torch.tensor([[1, 3]]), torch.tensor([[1.0, 1.0]])).item(), 6)  # (1 + 1/2) / (1 + 1/log2(3))
        0.919721
    """
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    counted, best = ranks > 0, gains.double().sort(dim=1, descending=True).values
    if k is not None:
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        counted, best = counted & (ranks <= k), best * (place <= k)
    found = (gains.double() * counted / torch.log2(1 + ranks.clamp(min=1).double())).sum(1)
    return found / (best / torch.log2(1 + place)).sum(1)


@torch.inference_mode()
def retrieve_graded(
    queries: Embedding,
    gallery: Embedding,
    columns: Tensor,
    gains: Tensor,
    scorer: Scorer,
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 512,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> GradedReport:
    """Rank the gallery for every query and measure how high the rows stand that have a gain.

    Args:
        queries: Q rows.
        gallery: N rows, on the device of `queries`.
        columns: `[Q, P]` int64, the distinct judged rows of the gallery of each query, -1 pads.
        gains: `[Q, P]`, at least 0: their grades, or `exponential_gain` of them.
        scorer: higher is better.
        ks: the depths of nDCG, precision and mAP, each at least 1.
        chunk: queries scored at a time; memory is about `chunk * N * 8` bytes. It changes no number.
        track: wraps the chunks, to show progress: `rich.progress.track`, say.

    Returns:
        A report; see its attributes.

    Raises:
        ValueError: if columns, gains and rows do not fit, a column is not in the gallery or twice there, a gain is
            negative, `ks` or `chunk` make no sense, the scorer's answer has the wrong shape or a NaN, or no query
            has a gain.

    Example:
        >>> from diptych.scoring import Dot
        >>> rows = Embedding({"dense": torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])})
        >>> report = retrieve_graded(rows[:1], rows, torch.tensor([[1, 0]]), torch.tensor([[3.0, 1.0]]), Dot(1.0))
        >>> round(report.ndcg[5], 4), report.precision[1]
        (0.7967, 1.0)
    """
    ks = _check(queries, gallery, columns, gains, ks, chunk)
    parts = []
    for start in track(range(0, len(queries), chunk)):
        stop = min(start + chunk, len(queries))
        scores = checked_scores(scorer, queries[start:stop], gallery)
        judged = (part[start:stop].to(scores.device) for part in (columns, gains))
        ranks, worth = graded_ranks(scores, *judged, first_query=start)
        measures = [ndcg(ranks, worth, k) for k in ks]
        measures += [metrics.precision_at(ranks, k) for k in ks]
        measures += [metrics.average_precision(ranks, k) for k in ks]
        parts.append(torch.stack([*measures, metrics.r_precision(ranks), ranks[:, 0].double()], 1).cpu())
    return _report(torch.cat(parts), gallery=len(gallery), ks=ks)


def _report(measured: Tensor, *, gallery: int, ks: list[int]) -> GradedReport:
    """Average `[Q, 3 * ks + 2]`: nDCG@k, P@k and AP@k for each of `ks`, R-Precision, and the first row's rank."""
    best = measured[:, -1:].long()
    mrr = metrics.mean_reciprocal_rank(best)  # which refuses queries that all lack a gain
    means = measured.nanmean(0).tolist()
    precision, average = len(ks), 2 * len(ks)
    return GradedReport(
        ndcg=dict(zip(ks, means, strict=False)),
        precision=dict(zip(ks, means[precision:], strict=False)),
        map_at=dict(zip(ks, means[average:], strict=False)),
        r_precision=means[-2],
        mrr=mrr,
        queries=len(measured),
        gallery=gallery,
        queries_without_positive=metrics.queries_without_positive(best),
        per_query={k: measured[:, place] for place, k in enumerate(ks)},
    )


def _check(
    queries: Embedding, gallery: Embedding, columns: Tensor, gains: Tensor, ks: Sequence[int], chunk: int
) -> list[int]:
    """`ks`, sorted and once each, if all arguments make sense."""
    if columns.dim() != 2 or gains.shape != columns.shape or len(columns) != len(queries) or not len(queries):
        raise ValueError(
            f"expected columns and gains [Q, P] for 1 or more queries; there are {len(queries)} queries, "
            f"columns {tuple(columns.shape)} and gains {tuple(gains.shape)}"
        )
    if columns.numel() and int(columns.max()) >= len(gallery):
        query = int((columns >= len(gallery)).nonzero()[0, 0])
        raise ValueError(f"query {query} names row {int(columns[query].max())} of a gallery of {len(gallery)}")
    ordered = columns.sort(1).values
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        query, place = twice.nonzero()[0].tolist()
        raise ValueError(f"query {query} names row {int(ordered[query, place])} more than once; give it one gain")
    if not ks or min(ks) < 1 or chunk < 1:
        raise ValueError(f"ks are {tuple(ks)} and chunk is {chunk}; give one or more ks, and each number at least 1")
    return sorted(set(ks))
