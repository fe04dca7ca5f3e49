"""Find reproductions: files of a folder, each named as the method, that define `REPRODUCTION`.

Files beside them without it are what they share (`reproducing.py`, which they import by name).
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from diptych.data.store import hash_of
from diptych.experiments.reproduction import Reproduction
from diptych.recipes import find_recipe, recipe_names

_DEFINES = re.compile(r"^REPRODUCTION\b", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """A reproduction, its file, and a hash of how it measures: of the file, and of what it shares with others."""

    what: Reproduction
    file: Path
    settings: str


def reproduction_files(folder: Path) -> dict[str, Path]:
    """Name -> file of every reproduction of a folder."""
    return {file.stem: file for file in sorted(folder.glob("*.py")) if _defines(file)}


def find_reproduction(name: str, folder: Path) -> Found:
    """The reproduction of a method.

    Raises:
        ValueError: if there is none; it says whether there is such a recipe, and what to write; or if the file
            defines something else.
    """
    files = reproduction_files(folder)
    if name not in files:
        raise ValueError(_missing(name, files, folder))
    file = files[name].resolve()
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # for what the files share
    spec = importlib.util.spec_from_file_location(f"diptych_reproduction_{name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    what = module.REPRODUCTION
    if not isinstance(what, Reproduction):
        raise ValueError(f"{file}: REPRODUCTION is of {type(what).__name__}, not a Reproduction")
    if what.name != name:
        raise ValueError(f"{file}: its name is {what.name!r}; it must be the file's, {name!r}")
    shared = [other for other in sorted(folder.rglob("*.py")) if not _defines(other)]
    return Found(what, file, hash_of(*(one.read_bytes() for one in (file, *shared))))


def _defines(file: Path) -> bool:
    return _DEFINES.search(file.read_text(encoding="utf-8")) is not None


def _missing(name: str, files: dict[str, Path], folder: Path) -> str:
    known = recipe_names()
    if name not in known:
        near = difflib.get_close_matches(name, [*files, *known]) or sorted(files)
        if not near:
            return f"no recipe {name!r}, and no reproductions in {folder}; --folder says where they are"
        return f"no reproduction and no recipe {name!r}; did you mean {', '.join(dict.fromkeys(near))}?"
    claim = find_recipe(name).claim
    said = f" Its paper claims: {claim.better}, against {claim.than}: {claim.metric}." if claim else ""
    return (
        f"the recipe {name!r} has no reproduction: write {folder / (name + '.py')} with REPRODUCTION, the method and "
        f"its baseline as arms; docs/reproductions.md has an example.{said}"
    )
