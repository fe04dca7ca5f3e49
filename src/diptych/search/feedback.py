"""Ask again with what the first answer looked like: Rocchio's feedback, from hits that are taken to be right.

    q' = (1 - share) q / |q| + share * mean_i v_i / |v_i|,        over the vectors v_i of the first hits

A text is short and its first hits are many pictures; their mean says more of what was meant, if most of them are
right, and drifts away if they are not: keep `share` and the number of hits small. Use it after a first search, or
with hits that a user marked; in another space of the same index (dense by default) than the first search, too.

Sources: Rocchio 1971, without its negative part, which has nothing to go by here; hits taken as right, Buckley et al.
1994. Normalised first, since vectors of two models differ in length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diptych.search.fusing import require_page
from diptych.search.index import Index
from diptych.search.points import Hit


def rocchio(query: ArrayLike, liked: ArrayLike, *, share: float = 0.3) -> NDArray[np.float32]:
    """The query moved towards the mean of some vectors.

    Args:
        query: `[D]`.
        liked: `[n, D]`, of hits; with none the query stays.
        share: of the mean, 0 to 1.

    Returns:
        `[D]`, of unit length; the query's direction where both cancel.

    Raises:
        ValueError: if shapes do not fit, the query has no direction, or `share` is not from 0 to 1.

    Example:
        >>> rocchio([3.0, 0.0], [[2.0, 0.0]]).tolist()
        [1.0, 0.0]
    """
    wanted, others = np.asarray(query, np.float64), np.asarray(liked, np.float64)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must be from 0 to 1")
    if wanted.ndim != 1 or (others.size and others.shape[1:] != wanted.shape) or not np.linalg.norm(wanted) > 0:
        raise ValueError(
            f"the query is {wanted.shape} and the hits are {others.shape}; expected [D], not all zeros, and [n, D]"
        )
    wanted = wanted / np.linalg.norm(wanted)
    if not others.size:
        return wanted.astype(np.float32)
    lengths = np.linalg.norm(others, axis=1, keepdims=True)
    moved = (1 - share) * wanted + share * (others / np.maximum(lengths, np.finfo(np.float64).tiny)).mean(0)
    length = np.linalg.norm(moved)
    return (moved / length if length > 1e-12 else wanted).astype(np.float32)


def search_feedback(
    index: Index,
    vector: ArrayLike,
    *,
    hits: Sequence[Hit] | None = None,
    count: int = 5,
    share: float = 0.3,
    space: str = "dense",
    limit: int = 10,
    offset: int = 0,
    where: Mapping[str, object] | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Search, move the query towards the first hits, and search again.

    Args:
        index: that has the dense space.
        vector: `[D]`, the query.
        hits: best first, that are taken as right: of another space, fused, or marked by a user; a first search if None.
        count: how many of them, at least 1.
        share: of their mean, as for `rocchio`.
        space: searched, a dense one.
        limit, offset: of the page.
        where, exact: as for `Index.search`.

    Raises:
        ValueError: if an argument does not fit `Index.search` or `rocchio`, or the space is not dense.
    """
    require_page(limit, offset)
    if count < 1:
        raise ValueError(f"count is {count}; feedback needs at least 1 hit")
    if space not in index.manifest.spaces or index.manifest.spaces[space].kind != "dense":
        raise ValueError(f"{index.folder} has no dense space {space!r}; feedback takes the mean of dense vectors")
    query = np.asarray(vector, np.float32)
    first = index.search(query, space=space, limit=count, where=where, exact=exact) if hits is None else hits[:count]
    liked = [record.vectors[space] for record in index.get([hit.id for hit in first], vectors=True)]
    moved = rocchio(query, np.array(liked), share=share)
    return index.search(moved, space=space, limit=limit, offset=offset, where=where, exact=exact)
