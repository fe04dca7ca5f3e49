"""Match two sets one to one by a few candidates a query, so that catalogues of any length fit.

    shortlist:           the k rows with the highest scores of each query, a chunk of queries at a time
    assign_shortlisted:  the one-to-one matching of the largest sum that uses shortlisted pairs only

`assign` holds all Q x N scores and takes time of Q^2 N; this holds Q x k. Where the right rows are among the candidates
the answer is as good. A query that finds all its candidates better used by others has none, or goes without where
what it could get is worth less than `unmatched`. Use it as the first, fast stage by embeddings before a slower scorer
of the shortlisted pairs (`Scorer.pairs`), whose scores it takes just as well.

Sources: Llabrés et al. 2024, arXiv 2407.19812 (a shortlist by CLIP, then the Hungarian algorithm); shortest augmenting
paths on sparse costs as in Jonker & Volgenant 1987.

System: 146 (Library book matching)
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


@dataclass(frozen=True)
class Shortlist:
    """Candidates of Q queries, best first.

    Attributes:
        rows: `[Q, k]` int64, of the gallery, distinct in each line; -1 for no candidate.
        scores: `[Q, k]` of them.
    """

    rows: Tensor
    scores: Tensor


@torch.no_grad()
def shortlist(scorer: Scorer, queries: Embedding, gallery: Embedding, k: int, *, chunk: int = 512) -> Shortlist:
    """The `k` best rows of each query, fewer where the gallery is smaller.

    Args:
        scorer: scores a chunk of queries against the whole gallery.
        queries: Q rows.
        gallery: N rows.
        k: at least 1.
        chunk: queries at a time: memory is `chunk` x N scores.

    Raises:
        ValueError: if `k` or `chunk` is below 1, or the gallery is empty.
    """
    if k < 1 or chunk < 1 or not len(gallery):
        raise ValueError(f"k is {k}, chunk {chunk}, and the gallery has {len(gallery)} rows; each must be at least 1")
    kept = min(k, len(gallery))
    best = [scorer(queries[i : i + chunk], gallery).topk(kept, dim=1) for i in range(0, len(queries), chunk)]
    if not best:
        return Shortlist(torch.zeros(0, kept, dtype=torch.long), torch.zeros(0, kept))
    return Shortlist(torch.cat([one.indices for one in best]), torch.cat([one.values for one in best]))


def assign_shortlisted(candidates: Shortlist, *, unmatched: float | None = None) -> Tensor:
    """The one-to-one matching with the largest sum among shortlisted pairs.

    Args:
        candidates: of Q queries; scores finite where there is a row.
        unmatched: what a query without a row counts for; None to match as many as the candidates allow.

    Returns:
        `[Q]` int64: the gallery row of each query, each row at most once; -1 where a query has none.

    Raises:
        ValueError: if rows and scores are not `[Q, k]` both, or a candidate's score is not finite.

    Example:
        >>> few = Shortlist(torch.tensor([[7, 9], [7, -1]]), torch.tensor([[0.9, 0.8], [0.8, 0.0]]))
        >>> assign_shortlisted(few)  # 0.8 + 0.8 is more than 0.9 alone
        tensor([9, 7])
    """
    rows, scores = candidates.rows, candidates.scores
    if rows.dim() != 2 or rows.shape != scores.shape:
        raise ValueError(f"candidates are {tuple(rows.shape)} and scores {tuple(scores.shape)}; expected [Q, k] both")
    if not bool(scores[rows >= 0].isfinite().all()):
        raise ValueError("some candidates' scores are not finite; leave out a pair that must not match with row -1")
    edges = [
        [(row, -score) for row, score in zip(line, values, strict=True) if row >= 0]
        for line, values in zip(rows.tolist(), scores.double().tolist(), strict=True)
    ]
    costs = [cost for line in edges for _, cost in line]
    # Dearer than any change that one query more could bring about, so that as many are matched as can be.
    dear = max(costs, default=0.0) + (max(costs, default=0.0) - min(costs, default=0.0) + 1) * (len(edges) + 1)
    alone = dear if unmatched is None else -unmatched
    found = _matched(edges, alone)
    return torch.tensor(found, dtype=torch.long, device=rows.device)


def _matched(edges: list[list[tuple[int, float]]], alone: float) -> list[int]:
    """The cheapest row of each query, all different, or -1 at the cost `alone`.

    Queries are added one by one, each by the cheapest path of changes to those before it. A path ends in a free row,
    or in a query that gives its row away and goes alone. `price` of rows keeps what each pair costs beyond its query's
    cheapest at zero or more, as in Dijkstra's algorithm.
    """
    row_of, owner, price = [-1] * len(edges), {}, {}
    for start in range(len(edges)):
        distance: dict[int, float] = {}
        came: dict[int, int] = {}  # row -> the query it was reached from
        done: dict[int, float] = {}
        heap: list[tuple[float, int]] = []
        query, so_far, held = start, 0.0, 0.0  # held: what the query's own pair costs at its row's price
        ends, best = (start, -1), alone
        while True:
            for row, cost in edges[query]:
                reached = so_far + cost - price.get(row, 0.0) - held
                if row not in done and reached < distance.get(row, math.inf):
                    distance[row], came[row] = reached, query
                    heapq.heappush(heap, (reached, row))
            if so_far + alone - held < best:
                ends, best = (query, -1), so_far + alone - held
            while heap and (heap[0][1] in done or heap[0][0] > distance[heap[0][1]]):
                heapq.heappop(heap)
            if not heap or heap[0][0] >= best:
                break
            so_far, row = heapq.heappop(heap)
            done[row] = so_far
            if row not in owner:
                ends, best = (came[row], row), so_far
                break
            query = owner[row]
            held = dict(edges[query])[row] - price.get(row, 0.0)
        for row, at in done.items():
            if at < best:
                price[row] = price.get(row, 0.0) - (best - at)
        query, row = ends
        while True:
            before = row_of[query]
            row_of[query] = row
            if row >= 0:
                owner[row] = query
            if query == start:
                break
            row, query = before, came[before]
    return row_of
