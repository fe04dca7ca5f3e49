"""The words that classes are told apart by: names, and sentences to put them into.

Each is given as a list, by the name of a set that comes with Diptych (`templates.yaml`, `classes.yaml` beside this
file), or by a file below the folder of the table: a `.txt` of one a line, or a `.json` or `.json.gz`, in which a path
after "#" leads to a list: "names.json.gz#en_classnames/imagenet1k". In files `{c}` stands for the name as well as `{}`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Names = Sequence[str] | Mapping[str, str]
SUFFIXES = (".txt", ".json", ".json.gz")


def template_sets() -> dict[str, list[str]]:
    """The sets of templates that come with Diptych."""
    return _sets("templates.yaml")


def class_sets() -> dict[str, Names]:
    """The class names that come with Diptych: a list in the order of their numbers, or label -> name."""
    return _sets("classes.yaml")


def templates_of(given: str | Sequence[str], find: Callable[[str], Path]) -> list[str]:
    """Templates, each with `{}` where the name goes.

    Args:
        given: a list, the name of a set, or a file.
        find: gives the path of a file by its name, or raises.

    Raises:
        ValueError: if there is no such set, or the file is of another kind.
    """
    if not isinstance(given, str):
        return list(given)
    if not _is_file(given):
        return list(_chosen("templates", given, template_sets()))
    found = _read("templates", given, find)
    if isinstance(found, Mapping):
        raise ValueError(f"templates: {given} has names of templates, not a list; add '#' and one of {list(found)[:8]}")
    return [one.replace("{c}", "{}") for one in found]


def class_names_of(given: str | Names, find: Callable[[str], Path]) -> Names:
    """Class names: a list in the order of their numbers, or label -> name.

    In a text file a line is a name, or a label and a name with a tab between them.

    Args:
        given: a list, a mapping, the name of a set, or a file.
        find: gives the path of a file by its name, or raises.

    Raises:
        ValueError: if there is no such set, or the file is of another kind.
    """
    if not isinstance(given, str):
        return given
    if not _is_file(given):
        return _chosen("classes", given, class_sets())
    found = _read("classes", given, find)
    if not isinstance(found, Mapping) and any("\t" in line for line in found):
        short = next((line for line in found if "\t" not in line), None)
        if short is not None:
            raise ValueError(f"classes: {given} has lines of label, tab and name; this one is not: {short!r}")
        return dict(line.split("\t", 1) for line in found)
    return found


def named(labels: Sequence[str | None], names: Names | None) -> tuple[list[str], list[int]]:
    """The name of each class, and the class of each row.

    Args:
        labels: of the rows, None where there is none.
        names: a list (labels are among them, or numbers into it), label -> name, or None for the labels themselves.

    Returns:
        The names, and the row's class in them; -1 where a row has no label.

    Raises:
        ValueError: if a label has no name.

    Example:
        >>> named(["1", None, "0"], ["cat", "dog"])
        (['cat', 'dog'], [1, -1, 0])
        >>> named(["b", "a"], {"a": "an apple", "b": "a bee"})
        (['an apple', 'a bee'], [1, 0])
    """
    if names is None:
        names = sorted({one for one in labels if one is not None})
    if isinstance(names, Mapping):
        place = {str(label): i for i, label in enumerate(names)}
        listed = [str(name) for name in names.values()]
    else:
        listed = [str(name) for name in names]
        place = {name: i for i, name in enumerate(listed)}
        place |= {str(i): i for i in range(len(listed)) if str(i) not in place}
    strange = sorted({one for one in labels if one is not None and one not in place})
    if strange:
        raise ValueError(
            f"{len(strange)} labels of the table have no class name, the first {strange[0]!r}; the names given are of "
            f"{', '.join(list(place)[:8])} ..."
        )
    return listed, [-1 if one is None else place[one] for one in labels]


@cache
def _sets(file: str) -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / file).read_text("utf-8"))


def _chosen(what: str, name: str, sets: Mapping[str, Any]) -> Any:
    if name not in sets:
        raise ValueError(
            f"{what}: there is no set {name!r}; there are {', '.join(sorted(sets))}. A file ends in "
            f"{', '.join(SUFFIXES)}; else give a list"
        )
    return sets[name]


def _is_file(given: str) -> bool:
    return given.split("#")[0].endswith(SUFFIXES)


def _read(what: str, given: str, find: Callable[[str], Path]) -> Any:
    name, _, inside = given.partition("#")
    file = find(name)
    if name.endswith(".txt"):
        return [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    raw = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    found: Any = json.loads(raw)
    for step in inside.split("/") if inside else []:
        if not isinstance(found, Mapping) or step not in found:
            has = f"it has {', '.join(map(str, list(found)[:12]))}" if isinstance(found, Mapping) else "it is a list"
            raise ValueError(f"{what}: {file} has no {step!r} where {given!r} looks for it; {has}")
        found = found[step]
    if not isinstance(found, list | dict):
        raise ValueError(f"{what}: {given} is {type(found).__name__}, not a list or label: name")
    return found
