"""Words of a row by the name of a column, or of a field in a column that holds several: "attributes.baseColour"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diptych.evaluation.bench import Bench


def words_of(bench: Bench, field: str) -> list[str | None]:
    """One word or phrase a row: a column's value, the first of a list, or a field's; None where it is empty.

    Args:
        field: a column's name; after each dot that of a field in it.

    Raises:
        ValueError: if there is no such column or field, or it holds no words in any row.
    """
    column, *inner = field.split(".")
    values: Sequence[Any] = bench.labels(column) if not inner and _is_plain(bench, column) else bench.column(column)
    for name in inner:
        if not any(isinstance(value, Mapping) and name in value for value in values):
            raise ValueError(f"column {column!r} has no field {name!r} in any of its {len(values):,} rows")
        values = [value.get(name) if isinstance(value, Mapping) else None for value in values]
    found = [_word(value) for value in values]
    if not any(found):
        raise ValueError(f"{field!r} holds no words in any of {len(found):,} rows")
    return found


def _is_plain(bench: Bench, column: str) -> bool:
    values = bench.column(column)
    return not any(isinstance(value, list | Mapping) for value in values)


def _word(value: Any) -> str | None:
    if isinstance(value, list):
        value = value[0] if value else None
    return (str(value).strip() or None) if value is not None and not isinstance(value, Mapping) else None
