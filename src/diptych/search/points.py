"""Rows on their way in and out: ids and payloads checked, and turned into points of the engine.

The engine wants a UUID where people have names, so the UUID is derived from the id (UUID
version 5), and the id itself rides in the payload under a key that nobody sees. What the
engine would take and spoil (whole numbers past 64 bits, say) is refused here; vectors in
`diptych.search.checking`.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdrant_edge import Point

from diptych.search.spaces import Space
from diptych.search.stored import to_engine
from diptych.search.vectors import Rows

ID_KEY = "_diptych_id"

# Never to change: every id in every index is derived from it.
_NAMESPACE = uuid.UUID("6d3f0f1e-2f0b-5c0e-9a53-0d1f7c9be2a4")


@dataclass(frozen=True)
class Hit:
    """A row that a search found.

    Attributes:
        id: as it was added.
        score: cosine in [-1, 1], dot product, MaxSim, or minus the Hamming distance, as the space has it; higher is
            nearer. A fused or reranked hit has the score that fusing or reranking gave it.
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
        vectors: space -> `[D]` float32, of unit length in a cosine space; `Sparse`; `[T, D]`; or `[bits / 8]` uint8.
            Empty if not asked for.
    """

    id: str
    payload: dict[str, object]
    vectors: Mapping[str, Any] = field(default_factory=dict)


def point_id(name: str) -> uuid.UUID:
    """The engine's id for a row's id; equal on every machine.

    Example:
        >>> point_id("cat.jpg") == point_id("cat.jpg") != point_id("dog.jpg")
        True
    """
    return uuid.uuid5(_NAMESPACE, name)


def to_points(
    ids: Sequence[str],
    vectors: Mapping[str, Rows],
    payloads: Sequence[Mapping[str, object]],
    spaces: Mapping[str, Space],
) -> list[Point]:
    """Points of the engine from rows that were checked."""
    lists = {name: to_engine(spaces[name], rows) for name, rows in vectors.items()}
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
