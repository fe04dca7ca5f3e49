"""Find each query's rows in a gallery, and say how often the right ones came first, next to what chance gets.

Queries are scored a chunk at a time, so no `[Q, N]` matrix is ever held: 5,000 images against 25,000
captions take about 100 MB. Which rows are right is told by keys (two rows match if they share any), joined
by binary search. Measures are those of `diptych.evaluation.metrics`, ties lost.

Use it for any two views that a scorer can compare. A gallery that does not fit in memory belongs in
an index (`diptych.search`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.evaluation import metrics


@dataclass(frozen=True, eq=False)
class RetrievalReport:
    """What a retrieval measured. Queries without a positive are in `queries` but in no mean.

    Attributes:
        recall: k -> share of queries with a positive among the first k, 0 to 1.
        chance: k -> what a ranking at random would get of that.
        median_rank, mean_rank: of the best positive, 1 to `gallery`.
        mrr: mean reciprocal rank of the best positive, 0 to 1.
        map: mean average precision over all positives, 0 to 1.
        queries: Q, how many were asked.
        gallery: N, among how many rows.
        queries_without_positive: how many of Q have no right row in the gallery.
        best_rank: `[Q]` int64, pessimistic rank of each query's best positive; 0 where it has none.
        top: `[Q, min(max k, N)]` int64, the gallery rows that came first, in any order among equal scores.
        top_scores: the scores of `top`.
        map_at: k -> mean average precision over the first k, divided by min(positives, k), 0 to 1.
        r_precision: mean share of right rows among the first p, p the query's positives, 0 to 1.
    """

    recall: dict[int, float]
    chance: dict[int, float]
    median_rank: float
    mean_rank: float
    mrr: float
    map: float
    queries: int
    gallery: int
    queries_without_positive: int
    best_rank: Tensor
    top: Tensor
    top_scores: Tensor
    map_at: dict[int, float] = field(default_factory=dict)
    r_precision: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """The numbers, as `json.dumps` takes them: all but the tensors."""
        return {
            "recall": {str(k): share for k, share in self.recall.items()},
            "chance": {str(k): share for k, share in self.chance.items()},
            **self._summary(),
            "map_at": {str(k): share for k, share in self.map_at.items()},
            "queries": self.queries,
            "gallery": self.gallery,
            "queries_without_positive": self.queries_without_positive,
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"t2i_recall@1": 0.41, ..., "t2i_map": 0.38}` for the prefix `"t2i"`."""
        recall = {f"recall@{k}": share for k, share in self.recall.items()}
        precision = {f"map@{k}": share for k, share in self.map_at.items()}
        return {f"{prefix}_{name}": value for name, value in {**recall, **self._summary(), **precision}.items()}

    def _summary(self) -> dict[str, float]:
        return {
            "median_rank": self.median_rank,
            "mean_rank": self.mean_rank,
            "mrr": self.mrr,
            "map": self.map,
            "r_precision": self.r_precision,
        }


@dataclass(frozen=True)
class KeyIndex:
    """Which rows hold a key, found by binary search.

    Attributes:
        keys: `[M]` int64, ascending, every key of every row (pads left out).
        rows: `[M]` int64, the row that holds it.
        size: how many rows there are, those without keys too.
    """

    keys: Tensor
    rows: Tensor
    size: int

    @staticmethod
    def of(keys: Tensor) -> KeyIndex:
        """Index `[N, K]` int64 keys; negative ones pad."""
        row = (keys >= 0).nonzero()[:, 0]
        held, order = keys[keys >= 0].sort()
        return KeyIndex(held, row[order], len(keys))

    def sharing(self, keys: Tensor) -> Tensor:
        """The rows that share any key with each of `[q, K]` `keys`.

        Returns:
            `[q, P]` int64, distinct and ascending in each line, -1 pads. Memory grows with the matches, not q * size.

        Example:
            >>> gallery = KeyIndex.of(torch.tensor([[7, 9], [9, -1], [-1, -1]]))
            >>> gallery.sharing(torch.tensor([[9, 7], [8, -1]]))
            tensor([[ 0,  1],
                    [-1, -1]])
        """
        query, key = (keys >= 0).nonzero()[:, 0], keys[keys >= 0]
        start = torch.searchsorted(self.keys, key)
        count = torch.searchsorted(self.keys, key, right=True) - start
        # The matches of one key stand side by side: number them on from its start.
        first = (start - (count.cumsum(0) - count)).repeat_interleave(count)
        row = self.rows[first + torch.arange(len(first), device=keys.device)]
        pair = torch.unique(query.repeat_interleave(count) * self.size + row)  # sorted, and once if two keys are shared
        return metrics.pad_columns(pair // self.size, pair % self.size, queries=len(keys))


@torch.inference_mode()
def retrieve(
    queries: Embedding,
    gallery: Embedding,
    query_keys: Tensor,
    gallery_keys: Tensor,
    scorer: Scorer,
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 512,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> RetrievalReport:
    """Rank the gallery for every query and measure how high the rows that share a key with it stand.

    Args:
        queries: Q rows.
        gallery: N rows, on the device of `queries`.
        query_keys: `[Q, K]` int64, -1 pads.
        gallery_keys: `[N, L]` int64, -1 pads; K and L may differ.
        scorer: higher is better. One that must know its gallery is to be fitted before (`scorer.fit(gallery)`).
        ks: the depths of recall and of mAP@k, each at least 1.
        chunk: queries scored at a time; memory is about `chunk * N * 8` bytes. It changes no number.
        track: wraps the chunks, to show progress: `rich.progress.track`, say.

    Returns:
        A report; see its attributes.

    Raises:
        ValueError: if keys and rows differ in number, the gallery is empty, `ks` or `chunk` make no sense, the
            scorer's answer has the wrong shape or a NaN, or no query has a positive.

    Example:
        >>> from diptych.core.embedding import Embedding
        >>> class Cosine(Scorer):
        ...     def forward(self, queries, gallery):
        ...         return queries.dense @ gallery.dense.T
        >>> rows, keys = Embedding({"dense": torch.eye(4)}), torch.arange(4)[:, None]
        >>> report = retrieve(rows, rows, keys, keys, Cosine(), ks=(1, 2))
        >>> report.recall[1], round(report.chance[1], 6)
        (1.0, 0.25)
    """
    ks = _check(queries, gallery, query_keys, gallery_keys, ks, chunk)
    index = KeyIndex.of(gallery_keys)
    parts = []
    for start in track(range(0, len(queries), chunk)):
        stop = min(start + chunk, len(queries))
        scores = checked_scores(scorer, queries[start:stop], gallery)
        columns = index.sharing(query_keys[start:stop]).to(scores.device)
        ranks = metrics.ranks_of(scores, columns, first_query=start)
        top = scores.topk(min(ks[-1], len(gallery)), dim=1)
        precision = [metrics.average_precision(ranks, k) for k in (None, *ks)]
        precisions = torch.stack([*precision, metrics.r_precision(ranks)], 1)  # [q, 1 + ks + 1]
        found = (ranks[:, 0], (ranks > 0).sum(1), precisions, top.indices, top.values.float())
        parts.append([part.cpu() for part in found])
    return _report(*(torch.cat(part) for part in zip(*parts, strict=True)), gallery=len(gallery), ks=ks)


def both_ways(
    image: Embedding,
    text: Embedding,
    image_keys: Tensor,
    text_keys: Tensor,
    scorer: Scorer,
    *,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 512,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, RetrievalReport]:
    """`retrieve` images by text and text by images, with the arguments of `retrieve`.

    Returns:
        `{"text_to_image": ..., "image_to_text": ...}`.
    """
    options: dict[str, Any] = {"ks": ks, "chunk": chunk, "track": track}
    return {
        "text_to_image": retrieve(text, image, text_keys, image_keys, scorer, **options),
        "image_to_text": retrieve(image, text, image_keys, text_keys, scorer, **options),
    }


def _check(
    queries: Embedding, gallery: Embedding, query_keys: Tensor, gallery_keys: Tensor, ks: Sequence[int], chunk: int
) -> list[int]:
    """`ks`, sorted and once each, if all arguments make sense."""
    for name, rows, keys in (("queries", queries, query_keys), ("gallery", gallery, gallery_keys)):
        if keys.dim() != 2 or len(keys) != len(rows):
            raise ValueError(f"{name}: expected keys [{len(rows)}, K] for {len(rows)} rows, not {tuple(keys.shape)}")
        if not len(rows):
            raise ValueError(f"{name} are empty: there is nothing to rank")
    if not ks or min(ks) < 1:
        raise ValueError(f"ks are {tuple(ks)}; give one or more, each at least 1")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    return sorted(set(ks))


def _report(
    best: Tensor, positives: Tensor, precisions: Tensor, top: Tensor, top_scores: Tensor, *, gallery: int, ks: list[int]
) -> RetrievalReport:
    """Measure the best ranks and counts of positives `[Q]` of all queries; `precisions` are AP, AP@k.., R-Precision."""
    ranks = best[:, None]  # all that the measures below need, precisions apart
    overall, *at, r_precision = precisions.nanmean(0).tolist()
    return RetrievalReport(
        recall={k: metrics.recall_at(ranks, k) for k in ks},
        chance={k: metrics.chance_recall(k, gallery=gallery, positives=positives) for k in ks},
        median_rank=metrics.median_rank(ranks),
        mean_rank=metrics.mean_rank(ranks),
        mrr=metrics.mean_reciprocal_rank(ranks),
        map=overall,
        queries=len(best),
        gallery=gallery,
        queries_without_positive=metrics.queries_without_positive(ranks),
        best_rank=best,
        top=top,
        top_scores=top_scores,
        map_at=dict(zip(ks, at, strict=True)),
        r_precision=r_precision,
    )


def checked_scores(scorer: Scorer, queries: Embedding, gallery: Embedding) -> Tensor:
    """The scorer's `[Q, N]`.

    Raises:
        ValueError: if it answers in another shape.
    """
    scores = scorer(queries, gallery)
    if scores.shape != (len(queries), len(gallery)):
        raise ValueError(
            f"{type(scorer).__name__} scored {len(queries)} queries against {len(gallery)} rows "
            f"with shape {tuple(scores.shape)}; a scorer returns [Q, N]"
        )
    return scores
