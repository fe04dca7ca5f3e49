"""How an object describes itself: its class, and its constructor's arguments as plain values.

A class keeps each constructor argument as an attribute of the same name (as scikit-learn does);
nothing else is needed to write it into a checkpoint and to build it again.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

PLAIN = (str, int, float, bool, type(None))


class ConfigurationError(ValueError):
    """An object cannot be described, or a description cannot be built."""


def describe(obj: Any) -> Any:
    """An object as plain values (JSON): its class and the arguments that built it.

    Raises:
        ConfigurationError: if a constructor argument was not kept as an attribute, or is not describable.
    """
    if isinstance(obj, PLAIN):
        return obj
    if isinstance(obj, Path):
        return str(obj)
    if isinstance(obj, list | tuple):
        return [describe(x) for x in obj]
    if isinstance(obj, Mapping):
        return {str(k): describe(v) for k, v in obj.items()}
    cls = type(obj)
    arguments = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"{cls.__qualname__} takes *{name}; a describable class names its arguments")
        if not hasattr(obj, name):
            raise ConfigurationError(f"{cls.__qualname__} does not keep its argument {name!r} as an attribute")
        arguments[name] = describe(getattr(obj, name))
    return {"class": f"{cls.__module__}:{cls.__qualname__}", "arguments": arguments}


def build(description: Any) -> Any:
    """Build what `describe` described. Only classes of `diptych` and of packages that declare themselves.

    A package declares itself with an entry point of the group `diptych` whose name is the package's.

    Raises:
        ConfigurationError: if a class is of another package or does not exist.
    """
    if isinstance(description, list):
        return [build(x) for x in description]
    if not isinstance(description, Mapping):
        return description
    if set(description) != {"class", "arguments"}:
        return {k: build(v) for k, v in description.items()}
    module, _, name = str(description["class"]).partition(":")
    require_trusted(description)
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"no class {description['class']!r} in this version of the package") from error
    if not inspect.isclass(cls) or cls.__module__.split(".")[0] != module.split(".")[0]:
        raise ConfigurationError(f"{description['class']!r} is not a class of its own package")
    arguments = {k: build(v) for k, v in description["arguments"].items()}
    unknown = sorted(set(arguments) - set(inspect.signature(cls).parameters))
    if unknown:
        raise ConfigurationError(
            f"{description['class']!r} takes no {unknown} in this version: the checkpoint was written by another"
        )
    return cls(**arguments)


def require_trusted(description: Any) -> None:
    """Raise if a description, at any depth, names a class that `build` would refuse.

    Raises:
        ConfigurationError: naming the class, and what to do.
    """
    if isinstance(description, list):
        for one in description:
            require_trusted(one)
    elif isinstance(description, Mapping):
        package = str(description.get("class")).partition(":")[0].split(".")[0]
        if set(description) == {"class", "arguments"} and package not in trusted_packages():
            raise ConfigurationError(
                f"the class {description['class']!r} cannot be part of a checkpoint: only classes of diptych and of "
                f"installed packages with an entry point in the group 'diptych' are built from one "
                f"({', '.join(sorted(trusted_packages()))}); put the class into such a package"
            )
        for one in description.values():
            require_trusted(one)


@lru_cache(1)  # reading what is installed takes long, and every load asks for it
def trusted_packages() -> frozenset[str]:
    """The packages whose classes a checkpoint may name."""
    return frozenset({"diptych", *(point.name for point in entry_points(group="diptych"))})
