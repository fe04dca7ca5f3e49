"""Rows on their way in and out: ids, vectors and payloads checked, and turned into points of the engine.

The engine wants a UUID where people have names, so the UUID is derived from the id (UUID
version 5), and the id itself rides in the payload under a key that nobody sees. What the
engine would take and spoil (NaN, whole numbers past 64 bits) is refused here.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_edge import Point

from diptych.search.manifest import Space

ID_KEY = "_diptych_id"

# Never to change: every id in every index is derived from it.
_NAMESPACE = uuid.UUID("6d3f0f1e-2f0b-5c0e-9a53-0d1f7c9be2a4")

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """A row that a search found.

    Attributes:
        id: as it was added.
        score: cosine in [-1, 1], or the dot product, as the space has it; higher is nearer.
        payload: as it was added.
    """

    id: str
    score: float
    payload: dict[str, object]


@dataclass(frozen=True)
class Record:
    """A row as the index keeps it.

    Attributes:
        id: as it was added.
        payload: as it was added.
        vectors: space -> `[D]` float32, of unit length in a cosine space; empty if not asked for.
    """

    id: str
    payload: dict[str, object]
    vectors: Mapping[str, Float32] = field(default_factory=dict)


def point_id(name: str) -> uuid.UUID:
    """The engine's id for a row's id; equal on every machine.

    Example:
        >>> point_id("cat.jpg") == point_id("cat.jpg") != point_id("dog.jpg")
        True
    """
    return uuid.uuid5(_NAMESPACE, name)


def to_points(
    ids: Sequence[str], vectors: Mapping[str, Float32], payloads: Sequence[Mapping[str, object]]
) -> list[Point]:
    """Points of the engine from rows that were checked."""
    lists = {space: array.tolist() for space, array in vectors.items()}
    return [
        Point(point_id(name), {space: rows[i] for space, rows in lists.items()}, {**payload, ID_KEY: name})
        for i, (name, payload) in enumerate(zip(ids, payloads, strict=True))
    ]


def split_payload(payload: Mapping[str, object] | None) -> tuple[str, dict[str, object]]:
    """A row's id, and its payload as the user knows it, from what the engine keeps."""
    shown = dict(payload or {})
    return str(shown.pop(ID_KEY)), shown


def check_ids(ids: Sequence[str]) -> list[str]:
    """The ids as a list.

    Raises:
        ValueError: if one is not a text, is empty, or cannot be written as UTF-8; it names the row.
    """
    if isinstance(ids, str):
        raise ValueError(f"ids are a list of texts, not the one text {ids!r}")
    for row, name in enumerate(ids):
        if not isinstance(name, str) or not name or not _is_unicode(name):
            raise ValueError(f"the id of row {row} is {name!r}; an id is a text of at least one character")
    return list(ids)


def check_payloads(ids: Sequence[str], payloads: Sequence[Mapping[str, object]]) -> None:
    """Refuse payloads that would not come back as they went in.

    Raises:
        ValueError: if there are not as many as ids, or one is not a dict of JSON values; it names id and field.
    """
    if len(payloads) != len(ids):
        raise ValueError(f"{len(ids)} ids but {len(payloads)} payloads; every row needs one, {{}} at least")
    for name, payload in zip(ids, payloads, strict=True):
        if not isinstance(payload, Mapping):
            raise ValueError(f"the payload of {name!r} is a {type(payload).__name__}; expected a dict")
        if ID_KEY in payload:
            raise ValueError(f"the payload of {name!r} has the field {ID_KEY!r}, which the index keeps for itself")
        fault = _fault(dict(payload), "")
        if fault:
            raise ValueError(f"the payload of {name!r} cannot be kept as JSON: {fault}")


def check_vectors(
    ids: Sequence[str], vectors: Mapping[str, ArrayLike], spaces: Mapping[str, Space]
) -> dict[str, Float32]:
    """The vectors of every space as float32.

    Raises:
        ValueError: if the spaces are not those of the index, or as `check_matrix`.
    """
    if set(vectors) != set(spaces):
        raise ValueError(f"the index has the spaces {sorted(spaces)}, the vectors are for {sorted(vectors)}")
    return {
        name: check_matrix(vectors[name], space, rows=len(ids), what=f"vectors of {name!r}", ids=ids)
        for name, space in spaces.items()
    }


def check_matrix(
    values: ArrayLike, space: Space, *, rows: int | None, what: str, ids: Sequence[str] | None = None
) -> Float32:
    """`[N, D]` float32 of finite numbers, from anything NumPy takes for an array of floats or small integers.

    Args:
        values: the array.
        space: gives D.
        rows: N, or None if any number will do.
        what: what the array is, for the error.
        ids: of the rows, for the error; else rows go by number.

    Raises:
        ValueError: if shape or dtype is another, or a row has NaN, infinity or a length past float32; it names the row.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != space.size or (rows is not None and len(array) != rows):
        expected = f"[{'N' if rows is None else rows}, {space.size}]"
        raise ValueError(f"the {what} have shape {list(array.shape)}; expected {expected}")
    if not (np.issubdtype(array.dtype, np.floating) or np.can_cast(array.dtype, np.float32)):
        raise ValueError(f"the {what} are {array.dtype}, which float32 cannot hold; convert them first")
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
        # The engine divides by the length, so that a length past float32 is as bad as infinity.
        bad = ~np.isfinite(np.einsum("nd,nd->n", array, array))
    if bad.any():
        row = int(bad.argmax())
        place = f"row {row}" if ids is None else f"{ids[row]!r} (row {row})"
        raise ValueError(f"the {what} have NaN, infinity or too large a number in {place}; {int(bad.sum())} such rows")
    return array


def _fault(value: object, path: str) -> str | None:
    """Where and why a value is not JSON that the engine keeps as it is; None if it is."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if _is_unicode(value) else f"{path!r} has half a character (a lone surrogate)"
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else f"{path!r} is a whole number past 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path!r} is {value}; use None"
    if isinstance(value, (list, tuple)):
        return next(filter(None, (_fault(item, f"{path}[{i}]") for i, item in enumerate(value))), None)
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or not _is_unicode(key):
                return f"{path or 'it'!r} has the key {key!r}, which is no text"
        return next(filter(None, (_fault(item, f"{path}.{key}".lstrip(".")) for key, item in value.items())), None)
    return f"{path!r} is a {type(value).__name__}; use a text, number, bool, None, list or dict"


def _is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
