"""Filters as the engine in process wants them, and as one types them on a command line.

The forms of a filter, and how they are read, are in `diptych.search.conditions`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

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

from diptych.search.conditions import (
    AnyOf,
    Condition,
    Dated,
    Empty,
    Not,
    OneOf,
    Same,
    Within,
    field_path,
    read_conditions,
)

__all__ = ["field_path", "parse_where", "to_filter"]

_CLAUSE = re.compile(r"\s*(?P<field>[^=!<>]+?)\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)
_SIGNS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt", "!=": "not"}


def to_filter(where: Mapping[str, object] | None) -> Filter | None:
    """The engine's filter for `where` (forms in `diptych.search.conditions`), or None if it asks for nothing.

    Raises:
        ValueError: as `read_conditions`.

    Example:
        >>> len(to_filter({"split": "test", "year": {"gte": 2010}}).must)
        2
    """
    conditions = [_said(condition) for condition in read_conditions(where)]
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


def _said(condition: Condition) -> FieldCondition | IsEmptyCondition | Filter:
    """One condition in the engine's words."""
    match condition:
        case Empty(path):
            return IsEmptyCondition(path)
        case Same(path, bool() as value):
            # The engine's bindings take a Python bool for the number 1 or 0; NumPy's they take for what it is.
            return FieldCondition(path, match=MatchValue(cast(bool, np.bool_(value))))
        case Same(path, value):
            return FieldCondition(path, match=MatchValue(value))
        case OneOf(path, words):
            return FieldCondition(path, match=MatchAny(list(words)))
        case Within(path, bounds):
            return FieldCondition(path, range=RangeFloat(**bounds))
        case Dated(path, bounds):
            return FieldCondition(path, range=RangeDateTime(**bounds))
        case AnyOf(conditions):
            return Filter(should=[_said(one) for one in conditions])
        case Not(one):
            return Filter(must_not=[_said(one)])


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
