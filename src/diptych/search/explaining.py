"""Why a row was found: which words, which patches, which numbers made its score.

    lexical    every word that query and row share: weight in the query times weight in the row
    late       every token of the query, and the row's token that it liked best
    dense      nothing to tell apart but the dimensions, which mean nothing: one part, the whole score
    code       likewise: the number of bits that differ

The parts of a score add up to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.search.spaces import Space
from diptych.search.vectors import GivenVector, Sparse


@dataclass(frozen=True)
class Reason:
    """A part of a score.

    Attributes:
        part: of the query: a word or token; "" where the score has no parts.
        score: what it adds.
        place: number of the row's token that it met, from 0; None but in late spaces.
    """

    part: str
    score: float
    place: int | None = None


def reasons(space: Space, query: GivenVector, kept: Any, parts: Sequence[str] = ()) -> list[Reason]:
    """Take a score apart, the largest parts first.

    Args:
        space: that was searched.
        query: as `Index.search` took it.
        kept: the row's vector, as `Index.get(..., vectors=True)` gives it.
        parts: names: of the terms by number in a lexical space, of the query's tokens in a late one; without, `#7`.

    Raises:
        ValueError: if there is not a name for each token of the query.

    Example:
        >>> words = ["cat", "dog", "red"]
        >>> reasons(Space(3, "dot", "lexical"), Sparse([0, 2], [1.0, 2.0]), Sparse([1, 2], [5.0, 3.0]), words)
        [Reason(part='red', score=6.0, place=None)]
    """

    def name(i: int) -> str:
        return str(parts[i]) if parts else f"#{i}"

    if space.kind == "lexical":
        asked = query if isinstance(query, Sparse) else Sparse(*query)  # type: ignore[misc]
        weights = dict(zip(np.asarray(kept.indices).tolist(), np.asarray(kept.values).tolist(), strict=True))
        both = zip(np.asarray(asked.indices).tolist(), np.asarray(asked.values).tolist(), strict=True)
        found = [Reason(name(term), weight * weights[term]) for term, weight in both if term in weights]
    elif space.kind == "late":
        tokens = np.asarray(query, np.float32)
        if parts and len(parts) != len(tokens):
            raise ValueError(f"there are {len(parts)} names for {len(tokens)} tokens of the query; give one each")
        if space.distance == "cosine":
            tokens = tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
        similar = tokens @ np.asarray(kept, np.float32).T
        best = similar.argmax(1)
        found = [Reason(name(i), float(similar[i, j]), int(j)) for i, j in enumerate(best)]
    elif space.kind == "code":
        differ = np.bitwise_xor(np.asarray(query, np.uint8), np.asarray(kept, np.uint8))
        found = [Reason("", -float(np.unpackbits(differ, count=space.size).sum()))]
    else:
        asked_vector = np.asarray(query, np.float32)
        if space.distance == "cosine":
            asked_vector = asked_vector / max(float(np.linalg.norm(asked_vector)), 1e-12)
        found = [Reason("", float(asked_vector @ np.asarray(kept, np.float32)))]
    return sorted(found, key=lambda reason: -reason.score)
