"""Change one field deep inside a recipe, by its dotted path: `phases.0.schedule.lr`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import yaml
from torch import nn

from diptych.training.recipe import Recipe


def override(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """The recipe with some fields changed.

    Args:
        recipe: as its function gave it.
        changes: dotted path -> value as YAML, e.g. `{"phases.0.objective.label_smoothing": "0.1"}`.

    Raises:
        ValueError: if a path does not exist (the message lists what does), or the value is of another kind.
    """
    for path, text in changes.items():
        recipe = _changed(recipe, path.split("."), yaml.safe_load(text), path)
    return recipe


def _changed(thing: Any, path: Sequence[str], value: Any, whole: str) -> Any:
    """A copy of `thing` with the field at `path` set to `value`; modules are built again, so that they check it."""
    if not path:
        return _like(thing, value, whole)
    name, rest = path[0], path[1:]
    if isinstance(thing, list | tuple):
        if not name.isdigit() or int(name) >= len(thing):
            raise ValueError(f"--{whole}: expected a number below {len(thing)} at {name!r}")
        copy = list(thing)
        copy[int(name)] = _changed(thing[int(name)], rest, value, whole)
        return copy
    if isinstance(thing, nn.Module) and next(thing.parameters(), None) is not None:
        raise ValueError(f"--{whole}: {type(thing).__name__} is built already, its weights too; set this in the recipe")
    fields = _fields(thing)
    if name not in fields:
        raise ValueError(f"--{whole}: no field {name!r} there; there are {', '.join(fields) or 'none'}")
    new = _changed(getattr(thing, name), rest, value, whole)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return dataclasses.replace(thing, **{name: new})
    return type(thing)(**{**{field: getattr(thing, field) for field in fields}, name: new})


def _fields(thing: Any) -> list[str]:
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing)]
    if isinstance(thing, nn.Module):
        return sorted(inspect.signature(type(thing)).parameters)
    return []


def _like(old: Any, new: Any, whole: str) -> Any:
    """`new`, if it is of the kind of `old`; a whole number passes as a real one."""
    if isinstance(old, tuple) and isinstance(new, list):
        return tuple(new)
    if isinstance(old, float) and isinstance(new, int | str) and not isinstance(new, bool):
        try:
            return float(new)  # YAML takes 1e-3 for a text
        except ValueError:
            pass
    if old is not None and new is not None and type(old) is not type(new):
        raise ValueError(f"--{whole}: expected {type(old).__name__}, as {old!r}; got {new!r}")
    return new
