"""Columns as samplers read them: groups, numbers, vectors; what does not fit is refused by the column's name."""

from __future__ import annotations

from typing import Any

import numpy as np

from diptych.training.sampler import Epoch


def groups(epoch: Epoch, name: str) -> tuple[np.ndarray, list[Any]]:
    """The group of every row: rows with equal values, and those whose value is missing (None or NaN).

    Returns:
        `[rows]` int64, numbers of groups in the order in which they first appear; and each group's value.

    Raises:
        ValueError: if the column is missing, or holds lists.

    Example:
        >>> codes, values = groups(Epoch(4, columns={"kind": np.array(["b", "a", None, "b"], dtype=object)}), "kind")
        >>> codes.tolist(), values
        ([0, 1, 2, 0], ['b', 'a', None])
    """
    found = _column(epoch, name)
    if found.ndim != 1 or found.dtype.kind not in "OUSTbiuf":
        raise ValueError(f"column {name!r} holds {_kind(found)}; groups are made by strings or numbers, one a row")
    place: dict[Any, int] = {}
    codes = np.empty(len(found), dtype=np.int64)
    for row, value in enumerate(found.tolist()):
        value = None if value is None or value != value else value
        if isinstance(value, list | dict | np.ndarray):
            raise ValueError(
                f"column {name!r} holds {type(value).__name__} in row {row}; groups want strings or numbers"
            )
        codes[row] = place.setdefault(value, len(place))
    return codes, list(place)


def numbers(epoch: Epoch, name: str, *, dimensions: int = 1) -> np.ndarray:
    """A column of finite numbers: `[rows]` float64, or `[rows, D]` as it is where `dimensions` is 2.

    Raises:
        ValueError: if the column is missing, of another kind or shape, or has values that are not finite.
    """
    found = _column(epoch, name)
    wanted = "one number a row" if dimensions == 1 else "one vector a row, all of one length"
    if found.dtype.kind == "O" and any(value is None for value in found.tolist()):
        missing = [row for row, value in enumerate(found.tolist()) if value is None]
        raise ValueError(f"column {name!r} has no value in {len(missing)} rows, first in row {missing[0]}")
    if found.ndim != dimensions or found.dtype.kind not in "biuf":
        try:
            found = np.array([np.asarray(value) for value in found.tolist()])
        except ValueError:
            found = np.zeros(0, dtype=object)
        if found.ndim != dimensions or found.dtype.kind not in "biuf":
            raise ValueError(f"column {name!r} holds {_kind(_column(epoch, name))}; expected {wanted}")
    bad = np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(1))
    if len(bad):
        raise ValueError(f"column {name!r} is not finite in {len(bad)} rows, first in row {int(bad[0])}")
    return found.astype(np.float64) if dimensions == 1 else found


def _column(epoch: Epoch, name: str) -> np.ndarray:
    if name not in epoch.columns:
        raise ValueError(f"no column {name!r}: the table has none of that name, and no survey of the phase gives it")
    found = np.asarray(epoch.columns[name])
    if found.ndim == 0 or len(found) != epoch.rows:
        raise ValueError(f"column {name!r} is {list(found.shape)}; the table has {epoch.rows} rows")
    return found


def _kind(found: np.ndarray) -> str:
    """What an array holds, in words."""
    example = next((value for value in found.reshape(-1)[:1].tolist()), None)
    return f"{found.ndim}-dimensional values such as {example!r}" if found.ndim > 1 else f"values such as {example!r}"
