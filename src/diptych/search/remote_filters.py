"""Filters as a Qdrant cluster wants them; their forms, and how they are read, are in `diptych.search.conditions`."""

from collections.abc import Mapping
from datetime import datetime

from qdrant_client import models

from diptych.search.conditions import (
    AnyOf,
    Condition,
    Dated,
    Empty,
    Not,
    OneOf,
    Same,
    Within,
    read_conditions,
)


def to_remote_filter(where: Mapping[str, object] | None) -> models.Filter | None:
    """The cluster's filter for `where`, or None if it asks for nothing.

    Raises:
        ValueError: as `read_conditions`.

    Example:
        >>> to_remote_filter({"split": ["a", "b"]}).model_dump(exclude_none=True)
        {'must': [{'key': '"split"', 'match': {'any': ['a', 'b']}}]}
    """
    conditions = [_said(condition) for condition in read_conditions(where)]
    return models.Filter(must=list(conditions)) if conditions else None


def _said(condition: Condition) -> models.FieldCondition | models.IsEmptyCondition | models.Filter:
    """One condition in the cluster's words."""
    match condition:
        case Empty(path):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=path))
        case Same(path, value):
            return models.FieldCondition(key=path, match=models.MatchValue(value=value))
        case OneOf(path, words):
            return models.FieldCondition(key=path, match=models.MatchAny(any=list(words)))
        case Within(path, bounds):
            return models.FieldCondition(key=path, range=models.Range(**bounds))
        case Dated(path, bounds):
            dates = {name: datetime.fromisoformat(bound) for name, bound in bounds.items()}
            return models.FieldCondition(key=path, range=models.DatetimeRange(**dates))
        case AnyOf(conditions):
            return models.Filter(should=[_said(one) for one in conditions])
        case Not(one):
            return models.Filter(must_not=[_said(one)])
