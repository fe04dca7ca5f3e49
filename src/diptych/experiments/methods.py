"""Every method: what the catalogue says of it, which files build it, and what was measured of it.

A recipe says which system it is by `PAPER.system`; any other file that builds one says it on the last line of its
docstring, `System: 258 (InvGC)`. Records join by their system's number, or by name where the catalogue has them not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import diptych
from diptych.experiments.record import Record
from diptych.experiments.systems import System, systems
from diptych.experiments.verdict import VERDICTS
from diptych.recipes import find_recipe, recipe_names

BESIDE = "beside the catalogue"
"""The family of what is built and has no number."""
UNMEASURED, UNBUILT = "unmeasured", "unbuilt"
STATES = (*VERDICTS, UNMEASURED, UNBUILT)

_SYSTEM = re.compile(r"^System: (\d+) \((.+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Method:
    """A system of the catalogue, or something built or measured beside it.

    Attributes:
        system: what the catalogue says; of a recipe beside it, its name, `PAPER` and `CLAIM`.
        built: the files that build it, from the package on: `recipes/contrastive/filip.py`.
        records: what was measured of it.
    """

    system: System
    built: tuple[str, ...]
    records: tuple[Record, ...]

    @property
    def states(self) -> tuple[str, ...]:
        """The verdicts of its records; without any, `"unmeasured"`, and without a file, `"unbuilt"`."""
        if self.records:
            return tuple(dict.fromkeys(record.verdict for record in self.records))
        return (UNMEASURED,) if self.built else (UNBUILT,)


def methods(records: Iterable[Record] = ()) -> list[Method]:
    """All systems by number, then what is built or measured beside them, by name.

    Args:
        records: what was measured, such as `read_records(folder)` gives.

    Raises:
        ValueError: if a recipe, a file or a record names a system that the catalogue has not.
    """
    built: dict[int | str, list[str]] = {}
    named: dict[str, int | str] = {}
    for key, path in [*_recipes(), *_other_files()]:
        built.setdefault(_known(key, path), []).append(path)
        named[Path(path).stem] = key
    measured: dict[int | str, list[Record]] = {}
    for record in records:
        key = named.get(record.name, record.name) if record.system is None else record.system
        measured.setdefault(_known(key, f"the record {record.name!r}"), []).append(record)
    every: dict[int | str, System] = {**systems()}
    for name in sorted(key for key in {*built, *measured} if isinstance(key, str)):
        every[name] = _beside(name, measured.get(name, []))
    return [Method(system, tuple(built.get(key, ())), tuple(measured.get(key, ()))) for key, system in every.items()]


def families() -> list[str]:
    """The catalogue's, by name, and last that of what is beside it."""
    return [*sorted({system.family for system in systems().values()}), BESIDE]


def family_of(number: int | None) -> str:
    """The family of a system, by its number.

    Raises:
        ValueError: if the catalogue has no such number.
    """
    return BESIDE if number is None else systems()[int(_known(number, "what was asked for"))].family


def _beside(name: str, records: Sequence[Record]) -> System:
    """A recipe that is in no catalogue, or something measured that is neither."""
    if name not in recipe_names():
        return System(None, name, "", BESIDE, "", records[0].claim)
    found = find_recipe(name)
    claim = f"{found.claim.better}, against {found.claim.than}: {found.claim.metric}" if found.claim else ""
    return System(None, name, found.paper.title if found.paper else "", BESIDE, "", claim)


def _recipes() -> Iterator[tuple[int | str, str]]:
    """System (the recipe's name, where it has none) and path of every recipe."""
    for found in map(find_recipe, recipe_names()):
        number = found.paper.system if found.paper else None
        yield found.name if number is None else number, _path(found.file)


def _other_files() -> Iterator[tuple[int, str]]:
    """System and path of every other file of the package whose docstring says that it builds one."""
    for file in sorted(Path(diptych.__path__[0]).rglob("*.py")):
        docstring = file.read_text(encoding="utf-8").split('"""', 2)[1:2]
        said = _SYSTEM.search(docstring[0]) if docstring else None
        if said is None:
            continue
        number, name = int(said[1]), said[2]
        if number not in systems() or systems()[number].name != name:
            raise ValueError(f"{file} says that it is system {number} ({name}); the catalogue has none such")
        yield number, _path(file)


def _known(key: int | str, where: str) -> int | str:
    if isinstance(key, int) and key not in systems():
        raise ValueError(f"{where} names system {key}; the catalogue has 1 to {max(systems())}")
    return key


def _path(file: Path) -> str:
    """From the package on, or whole where a recipe lies in another package."""
    file, package = file.resolve(), Path(diptych.__path__[0]).resolve()
    return file.relative_to(package).as_posix() if file.is_relative_to(package) else file.as_posix()
