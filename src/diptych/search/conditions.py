"""Payload filters: a plain dict of what a row must have, read once into conditions that belong to no engine.

    {"split": "test"}                    the field equals the value (or is a list that has it)
    {"label": ["cat", "dog"]}            it equals any of these
    {"year": {"gte": 2010, "lt": 2020}}  it lies in the range; also "gt" and "lte"; ISO dates too
    {"split": {"not": "train"}}          it equals none of these (or is not there); also {"not": [...]}
    {"caption": None}                    it is missing, null or []; {"not": None} for the opposite

All fields must agree. Dots reach into nested objects (`"camera.model"`), `[]` into lists of
them (`"boxes[].label"`). Numbers compare by value, so 1 finds 1.0; True finds neither.

`diptych.search.filters` says them to the engine in process, `diptych.search.remote_filters` to a cluster.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

FORMS = 'a value, a list of values, {"gte" | "gt" | "lte" | "lt": bound} or {"not": value or list}'
BOUNDS = {"gte", "gt", "lte", "lt"}
EXACT_IN_FLOAT = 2**53  # every whole number up to here is itself as a float64

_PART = re.compile(r'(?P<name>[^"\[\]]+)(?P<places>(?:\[\d*\])*)')


@dataclass(frozen=True)
class Empty:
    """The field is missing, null or an empty list."""

    path: str


@dataclass(frozen=True)
class Same:
    """The field is exactly this truth value, or this whole number past those that a float holds."""

    path: str
    value: bool | int


@dataclass(frozen=True)
class OneOf:
    """The field is one of these texts."""

    path: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Within:
    """The field is a number within these bounds: "gte", "gt", "lte", "lt"."""

    path: str
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class Dated:
    """The field is a date within these bounds, ISO 8601 texts."""

    path: str
    bounds: Mapping[str, str]


@dataclass(frozen=True)
class AnyOf:
    """One of these holds."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    """This does not hold."""

    condition: "Condition"


Condition = Empty | Same | OneOf | Within | Dated | AnyOf | Not


def read_conditions(where: Mapping[str, object] | None) -> list[Condition]:
    """What `where` (forms above) asks for, all of which must hold; empty if it asks for nothing.

    Raises:
        ValueError: if a field has no form of the above; it names the field and the forms.

    Example:
        >>> read_conditions({"split": "test", "year": {"gte": 2010}})
        [OneOf(path='"split"', words=('test',)), Within(path='"year"', bounds={'gte': 2010.0})]
    """
    if where is None:
        return []
    if not isinstance(where, Mapping):
        raise ValueError(f"a filter is a dict of field -> {FORMS}; found {where!r}")
    return [condition for field, wanted in where.items() for condition in _conditions(field, wanted)]


def field_path(field: object) -> str:
    """A field as the engine's JSON path, every name quoted, so that any script and blanks may be in it.

    Raises:
        ValueError: if the field is empty, has an empty part, or a quotation mark or stray bracket.

    Example:
        >>> field_path("boxes[].label name")
        '"boxes"[]."label name"'
    """
    parts = [_PART.fullmatch(part) for part in field.split(".")] if isinstance(field, str) else [None]
    if not all(parts):
        raise ValueError(
            f"{field!r} is no payload field: expected names joined by dots, as in 'camera.model' or "
            f"'boxes[].label', without quotation marks"
        )
    return ".".join(f'"{part["name"]}"{part["places"]}' for part in parts if part)


def _conditions(field: str, wanted: object) -> list[Condition]:
    """What `wanted` says of one field."""
    path = field_path(field)
    try:
        if not isinstance(wanted, Mapping):
            return [_any_of(path, wanted)]
        if not wanted or set(wanted) - BOUNDS - {"not"}:
            raise ValueError(f"found {dict(wanted)!r}")
        bounds = {name: bound for name, bound in wanted.items() if name != "not"}
        conditions: list[Condition] = [_range(path, bounds)] if bounds else []
        if "not" in wanted:
            conditions.append(Not(_any_of(path, wanted["not"])))
        return conditions
    except ValueError as error:
        raise ValueError(f"the filter on {field!r} is not {FORMS}: {error}") from None


def _any_of(path: str, wanted: object) -> Condition:
    """The field equals `wanted`, or any of its values if it is a list."""
    values = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
    if not values:
        raise ValueError("an empty list would find nothing")
    words = [value for value in values if isinstance(value, str)]
    conditions: list[Condition] = [_equals(path, value) for value in values if not isinstance(value, str)]
    if words:
        conditions.append(OneOf(path, tuple(words)))
    return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))


def _equals(path: str, value: object) -> Condition:
    """The field equals one value that is not a text."""
    if value is None:
        return Empty(path)
    if isinstance(value, (bool, np.bool_)):
        return Same(path, bool(value))
    if isinstance(value, int) and abs(value) > EXACT_IN_FLOAT:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{value} is past 64 bits with a sign")
        return Same(path, value)
    if isinstance(value, (int, float)) and math.isfinite(value):
        return Within(path, {"gte": float(value), "lte": float(value)})
    raise ValueError(f"found the value {value!r}")


def _range(path: str, bounds: Mapping[str, Any]) -> Condition:
    """The field lies within the bounds, all numbers or all ISO 8601 dates."""
    if all(isinstance(bound, str) for bound in bounds.values()):
        for bound in bounds.values():
            datetime.fromisoformat(bound)
        return Dated(path, dict(bounds))
    for bound in bounds.values():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise ValueError(f"found the bound {bound!r}; bounds are numbers, or all are ISO dates")
    return Within(path, {name: float(bound) for name, bound in bounds.items()})
