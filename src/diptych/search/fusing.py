"""One ranking from several: of one query in several spaces, or of several queries.

    reciprocal_rank   score(d) = sum over rankings r of w_r / (k + rank_r(d)), ranks from 1, k = 60
    borda             score(d) = sum over rankings r of w_r * (n_r - rank_r(d)) / n_r, n_r the hits of r
    weighted_sum      score(d) = sum over rankings r of w_r * scaled_r(score_r(d)), with `min_max` or `z_scores`

Reciprocal rank fusion looks at places only, so it needs no scores that compare, and is hard to
beat untuned; a weighted sum knows how far apart hits are, and wins where weights can be fitted to
a few judged queries. Borda's count falls evenly with the places, so that a hit in the middle of
several rankings beats one on top of a single one: for rankings none of which is to be trusted
alone. A hit absent from a ranking gets nothing from it in the first two, and as much as its last
hit in the sum.

Cormack, Clarke & Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods"; Aslam & Montague 2001, "Models for metasearch" (Borda); the sum: Fox & Shaw 1994
("CombSUM"); Bruch et al. 2022, arXiv 2210.11934.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from diptych.search.index import Index
from diptych.search.points import Hit
from diptych.search.vectors import GivenVector

Fuse = Callable[[Sequence[Sequence[Hit]]], list[Hit]]
Scores = NDArray[np.float64]


def search_fused(
    index: Index,
    queries: Mapping[str, GivenVector],
    *,
    fuse: Fuse | None = None,
    depth: int = 100,
    limit: int = 10,
    offset: int = 0,
    where: Mapping[str, object] | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Search several spaces, and fuse what they find.

    Args:
        index: that has the spaces.
        queries: space -> the query's vector there, as `Index.search` takes it.
        fuse: makes one ranking of those of the spaces, in the order of `queries`; `reciprocal_rank` if None.
            For weights: `partial(weighted_sum, weights=[0.7, 0.3])`.
        depth: how many hits of each space are fused; also how far the pages reach.
        limit, offset: of the page, in the fused ranking.
        where, exact: as for `Index.search`.

    Returns:
        The page; scores are those of the fusion.

    Raises:
        ValueError: if there are no queries, or an argument does not fit `Index.search`.

    Example:
        `search_fused(index, {"dense": vector, "lexical": Sparse(terms, weights)}, limit=5)`
    """
    if not queries:
        raise ValueError("there is no query; give at least one space its vector")
    require_page(limit, offset)
    rankings = [
        index.search(vector, space=space, limit=depth, where=where, exact=exact) for space, vector in queries.items()
    ]
    return (fuse or reciprocal_rank)(rankings)[offset : offset + limit]


def reciprocal_rank(
    rankings: Sequence[Sequence[Hit]], *, k: float = 60.0, weights: Sequence[float] | None = None
) -> list[Hit]:
    """Fuse rankings by place; equals stay in the order in which they first come.

    Args:
        rankings: each best first.
        k: the larger, the less the first places count over those below.
        weights: one a ranking; all 1 if None.

    Raises:
        ValueError: if weights are not as many as rankings, or k is negative.

    Example:
        >>> a, b = Hit("a", 0.9, {}), Hit("b", 0.8, {})
        >>> [(hit.id, round(hit.score, 4)) for hit in reciprocal_rank([[a, b], [b]])]
        [('b', 0.0325), ('a', 0.0164)]
    """
    if k < 0:
        raise ValueError(f"k is at least 0; found {k}")
    parts = [[1 / (k + rank) for rank in range(1, len(ranking) + 1)] for ranking in rankings]
    return _summed(rankings, parts, [0.0] * len(rankings), weights)


def borda(rankings: Sequence[Sequence[Hit]], *, weights: Sequence[float] | None = None) -> list[Hit]:
    """Fuse rankings by evenly falling points, 1 less 1/n for the first of n; equals stay in the order they first come.

    Args:
        rankings: each best first.
        weights: one a ranking; all 1 if None.

    Raises:
        ValueError: if weights are not as many as rankings.

    Example:
        >>> a, b, c, d = (Hit(name, 0.0, {}) for name in "abcd")
        >>> [(hit.id, hit.score) for hit in borda([[a, b, c, d], [d, b]])]
        [('a', 0.75), ('b', 0.5), ('d', 0.5), ('c', 0.25)]
    """
    parts = [[1 - rank / len(ranking) for rank in range(1, len(ranking) + 1)] for ranking in rankings]
    return _summed(rankings, parts, [0.0] * len(rankings), weights)


def weighted_sum(
    rankings: Sequence[Sequence[Hit]],
    *,
    weights: Sequence[float] | None = None,
    scaled: Callable[[Scores], Scores] | None = None,
) -> list[Hit]:
    """Fuse rankings by score; equals stay in the order in which they first come.

    Args:
        rankings: each best first.
        weights: one a ranking; all 1 if None.
        scaled: brings the scores of a ranking to where they compare: `min_max` (if None), or `z_scores`.

    Raises:
        ValueError: if weights are not as many as rankings.

    Example:
        >>> a, b, c = Hit("a", 3.0, {}), Hit("b", 2.0, {}), Hit("c", 1.0, {})
        >>> [(hit.id, hit.score) for hit in weighted_sum([[a, b, c], [Hit("c", 9.0, {}), b]], weights=[1, 2])]
        [('c', 2.0), ('a', 1.0), ('b', 0.5)]
    """
    scale = scaled or min_max
    parts = [scale(np.array([hit.score for hit in ranking], np.float64)) for ranking in rankings]
    return _summed(rankings, parts, [float(part.min()) if len(part) else 0.0 for part in parts], weights)


def min_max(scores: Scores) -> Scores:
    """Scores `[N]` moved and stretched to [0, 1]; all 1 where they are equal."""
    if not len(scores):
        return scores
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def z_scores(scores: Scores) -> Scores:
    """Scores `[N]` at mean 0 and standard deviation 1; all 0 where they are equal."""
    if not len(scores):
        return scores
    spread = scores.std()
    # The mean of equal numbers may be off by a rounding, which dividing by it would blow up.
    return (scores - scores.mean()) / spread if scores.max() > scores.min() else np.zeros_like(scores)


def require_page(limit: int, offset: int) -> None:
    """Raise if these do not name a page."""
    if limit < 1 or offset < 0:
        raise ValueError(f"limit is at least 1 and offset at least 0; found limit={limit}, offset={offset}")


def _summed(
    rankings: Sequence[Sequence[Hit]],
    parts: Sequence[Sequence[float] | Scores],
    absent: Sequence[float],
    weights: Sequence[float] | None,
) -> list[Hit]:
    """Every hit once, by the weighted sum of its parts, best first."""
    if weights is None:
        weights = [1.0] * len(rankings)
    if len(weights) != len(rankings):
        raise ValueError(f"there are {len(rankings)} rankings but {len(weights)} weights; give one each")
    first: dict[str, Hit] = {}
    sums: dict[str, float] = {}
    nothing = sum(weight * least for weight, least in zip(weights, absent, strict=True))
    for ranking, part, least, weight in zip(rankings, parts, absent, weights, strict=True):
        for hit, value in zip(ranking, part, strict=True):
            first.setdefault(hit.id, hit)
            sums[hit.id] = sums.get(hit.id, nothing) + weight * (float(value) - least)
    fused = [replace(hit, score=sums[name]) for name, hit in first.items()]
    return sorted(fused, key=lambda hit: -hit.score)
