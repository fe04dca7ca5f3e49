"""Payload filters: a plain dict of what a row must have, turned into the engine's `Filter`.

    {"split": "test"}                    the field equals the value (or is a list that has it)
    {"label": ["cat", "dog"]}            it equals any of these
    {"year": {"gte": 2010, "lt": 2020}}  it lies in the range; also "gt" and "lte"; ISO dates too
    {"split": {"not": "train"}}          it equals none of these (or is not there); also {"not": [...]}
    {"caption": None}                    it is missing, null or []; {"not": None} for the opposite

All fields must agree. Dots reach into nested objects (`"camera.model"`), `[]` into lists of
them (`"boxes[].label"`). Numbers compare by value, so 1 finds 1.0; True finds neither.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import numpy as np
from qdrant_edge import (
    FieldCondition,
    Filter,
    IsEmptyCondition,
    MatchAny,
    MatchValue,
    RangeDateTime,
    RangeFloat,
)

Condition = FieldCondition | IsEmptyCondition | Filter

FORMS = 'a value, a list of values, {"gte" | "gt" | "lte" | "lt": bound} or {"not": value or list}'
BOUNDS = {"gte", "gt", "lte", "lt"}
EXACT_IN_FLOAT = 2**53  # every whole number up to here is itself as a float64

_PART = re.compile(r'(?P<name>[^"\[\]]+)(?P<places>(?:\[\d*\])*)')
_CLAUSE = re.compile(r"\s*(?P<field>[^=!<>]+?)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)
_SIGNS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt", "!=": "not"}


def to_filter(where: Mapping[str, object] | None) -> Filter | None:
    """The engine's filter for `where` (forms above), or None if it asks for nothing.

    Raises:
        ValueError: if a field has no form of the above; it names the field and the forms.

    Example:
        >>> len(to_filter({"split": "test", "year": {"gte": 2010}}).must)
        2
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise ValueError(f"a filter is a dict of field -> {FORMS}; found {where!r}")
    conditions = [condition for field, wanted in where.items() for condition in _conditions(field, wanted)]
    return Filter(must=list(conditions)) if conditions else None


def parse_where(clauses: Sequence[str]) -> dict[str, object]:
    """Read filters as one types them: `field=value`, `=a,b` (any of), `!=`, `>`, `>=`, `<`, `<=`.

    A word that looks like a number or like true or false finds both that and the text. For
    values that hold a comma, use the dict form in Python.

    Raises:
        ValueError: if a clause has no sign or value, or contradicts an earlier one; it quotes the clause.

    Example:
        >>> parse_where(["split=test", "year>=2010", "year<2020", "label=a,b"])
        {'split': 'test', 'year': {'gte': 2010, 'lt': 2020}, 'label': ['a', 'b']}
        >>> parse_where(["digit!=7"])
        {'digit': {'not': [7, '7']}}
    """
    where: dict[str, object] = {}
    for clause in clauses:
        found = _CLAUSE.fullmatch(clause)
        if not found or not found["value"]:
            raise ValueError(
                f"cannot read the filter {clause!r}: expected a field, one of = != > >= < <=, and a value, "
                f"as in split=test, label=a,b or year>=2010"
            )
        field, sign, text = found["field"], found["sign"], found["value"]
        try:
            wanted: object = _bound(text) if sign[0] in "<>" else _words(text)
        except ValueError as error:
            raise ValueError(f"cannot read the filter {clause!r}: {error}") from None
        earlier = where.get(field, {})
        name = _SIGNS.get(sign)
        if not isinstance(earlier, dict) or name in earlier or (name is None and earlier):
            raise ValueError(f"the filter {clause!r} sets {field!r} a second time; write any-of as {field}=a,b")
        where[field] = wanted if name is None else {**earlier, name: wanted}
    return where


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
            conditions.append(Filter(must_not=[_any_of(path, wanted["not"])]))
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
        conditions.append(FieldCondition(path, match=MatchAny(words)))
    return conditions[0] if len(conditions) == 1 else Filter(should=list(conditions))


def _equals(path: str, value: object) -> Condition:
    """The field equals one value that is not a text."""
    if value is None:
        return IsEmptyCondition(path)
    if isinstance(value, (bool, np.bool_)):
        # The engine's bindings take a Python bool for the number 1 or 0; NumPy's they take for what it is.
        return FieldCondition(path, match=MatchValue(cast(bool, np.bool_(value))))
    if isinstance(value, int) and abs(value) > EXACT_IN_FLOAT:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{value} is past 64 bits with a sign")
        return FieldCondition(path, match=MatchValue(value))
    if isinstance(value, (int, float)) and math.isfinite(value):
        return FieldCondition(path, range=RangeFloat(gte=float(value), lte=float(value)))
    raise ValueError(f"found the value {value!r}")


def _range(path: str, bounds: Mapping[str, Any]) -> Condition:
    """The field lies within the bounds, all numbers or all ISO 8601 dates."""
    if all(isinstance(bound, str) for bound in bounds.values()):
        for bound in bounds.values():
            datetime.fromisoformat(bound)
        return FieldCondition(path, range=RangeDateTime(**bounds))
    for bound in bounds.values():
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise ValueError(f"found the bound {bound!r}; bounds are numbers, or all are ISO dates")
    return FieldCondition(path, range=RangeFloat(**{name: float(bound) for name, bound in bounds.items()}))


def _words(text: str) -> object:
    """What `a,b` may mean: every word, and the number or truth value that it spells."""
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ValueError("one of its values is empty")
    values = [meaning for word in words for meaning in _meanings(word)]
    return values[0] if len(values) == 1 else values


def _meanings(word: str) -> list[object]:
    """A word, after what it spells if that is something else."""
    if word in ("true", "false"):
        return [word == "true", word]
    number = _number(word)
    return [word] if number is None else [number, word]


def _bound(text: str) -> object:
    """A number, or a date in ISO 8601."""
    number = _number(text)
    if number is not None:
        return number
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a number nor a date such as 2020-12-31") from None
    return text


def _number(text: str) -> int | float | None:
    """The finite number that `text` spells, if any."""
    if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        return int(text)
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return None
    return float(text) if math.isfinite(float(text)) else None
