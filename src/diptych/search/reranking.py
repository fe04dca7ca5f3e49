"""Search cheaply, then score the best few again with something better: a cascade.

The first search takes `depth` candidates from one space; a callable scores them again, and they
are put in its order. The callable is another space of the same index (`by_space`: codes first,
then the dense vectors; dense first, then MaxSim over tokens), a cross-encoder over texts and
images, or any function of hits. Use it where the better score is too dear for every row; what
the first search misses, the second cannot find.

Source: Matveeva et al. 2006, "High accuracy retrieval with multiple nested ranker".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diptych.search.fusing import require_page
from diptych.search.index import Index
from diptych.search.points import Hit
from diptych.search.vectors import GivenVector

Rescore = Callable[[Sequence[Hit]], Sequence[float]]


def search_cascade(
    index: Index,
    vector: GivenVector,
    rescore: Rescore,
    *,
    space: str = "dense",
    depth: int = 100,
    limit: int = 10,
    offset: int = 0,
    where: Mapping[str, object] | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Take candidates from one space, and rank them by another score.

    Args:
        index: that has the space.
        vector: as `Index.search` takes it.
        rescore: candidates, best first -> a score for each, higher for better.
        space: where the candidates come from.
        depth: how many candidates there are; also how far the pages reach.
        limit, offset: of the page, in the new ranking.
        where, exact: as for `Index.search`.

    Returns:
        The page; scores are those of `rescore`.

    Raises:
        ValueError: if `rescore` gives another number of scores, or an argument does not fit `Index.search`.

    Example:
        `search_cascade(index, code, by_space(index, vector), space="code", depth=500)`
    """
    require_page(limit, offset)
    if isinstance(rescore, BySpace) and rescore.index is index:
        kind: dict[str, Any] = {"where": where, "exact": exact, "depth": depth, "limit": limit, "offset": offset}
        return index.search_again(vector, rescore.vector, space=space, other=rescore.space, keep=rescore.keep, **kind)
    candidates = index.search(vector, space=space, limit=depth, where=where, exact=exact)
    return reranked(candidates, rescore)[offset : offset + limit]


def reranked(hits: Sequence[Hit], rescore: Rescore) -> list[Hit]:
    """The hits with new scores, best first; equals stay in their order.

    Raises:
        ValueError: if `rescore` gives another number of scores, or one is not a number.

    Example:
        >>> short, long = Hit("a", 0.9, {"words": 2}), Hit("b", 0.8, {"words": 9})
        >>> [hit.id for hit in reranked([short, long], lambda hits: [hit.payload["words"] for hit in hits])]
        ['b', 'a']
    """
    if not hits:
        return []
    scores = [float(score) for score in rescore(hits)]
    if len(scores) != len(hits):
        raise ValueError(f"{len(hits)} hits were to be scored again, but {len(scores)} scores came back")
    for hit, score in zip(hits, scores, strict=True):
        if score != score:
            raise ValueError(f"the new score of {hit.id!r} is NaN; expected a number")
    return sorted(
        (replace(hit, score=score) for hit, score in zip(hits, scores, strict=True)), key=lambda hit: -hit.score
    )


@dataclass(frozen=True, eq=False)
class BySpace:
    """A `rescore` that takes the exact score in another space of the index; made by `by_space`."""

    index: Index
    vector: GivenVector
    space: str
    keep: float

    def __call__(self, hits: Sequence[Hit]) -> list[float]:
        """The scores of hits of this index.

        Raises:
            ValueError: if a hit is not a row of the index.
        """
        scores = self.index.score([hit.id for hit in hits], self.vector, space=self.space)
        missing = [hit.id for hit in hits if hit.id not in scores]
        if missing:
            raise ValueError(f"{self.index.place} has no row {missing[0]!r}; rescore hits of the same index")
        return [scores[hit.id] + self.keep * hit.score for hit in hits]


def by_space(index: Index, vector: GivenVector, *, space: str = "dense", keep: float = 0.0) -> BySpace:
    """A `rescore` that takes the exact score in another space of the index.

    `search_cascade` in the same index then has the index do both stages, which reads ids and payloads of the page
    alone.

    Args:
        index: that found the hits.
        vector, space: as for `Index.search`.
        keep: how many times the score that a hit came with is added; where both know something, as a row's one vector
            and its tokens do, a weight chosen on validation data beats either alone.
    """
    return BySpace(index, vector, space, keep)
