"""Find a recipe by its name (a file in a family's folder) or by its path (a user's own file)."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from diptych.training.recipe import Claim, Paper, Recipe


@dataclass(frozen=True)
class Found:
    """A recipe's file: its function, and what it says of its paper (None in a user's own file without)."""

    name: str
    file: Path
    recipe: Callable[..., Recipe]
    paper: Paper | None
    claim: Claim | None


def recipe_files() -> dict[str, Path]:
    """Name -> file of every recipe, in all folders of the package `diptych.recipes`."""
    import diptych.recipes

    files: dict[str, Path] = {}
    for folder in diptych.recipes.__path__:
        for file in sorted(Path(folder).glob("*/*.py")):
            if file.stem == "__init__":
                continue
            if file.stem in files:
                raise ValueError(f"two recipes are named {file.stem!r}: {files[file.stem]} and {file}; rename one")
            files[file.stem] = file
    return files


def recipe_names() -> list[str]:
    """The names of all recipes."""
    return sorted(recipe_files())


def find_recipe(name: str) -> Found:
    """A recipe by name, or by path where `name` ends in `.py`.

    Raises:
        ValueError: if there is none; the message lists near names.
    """
    if name.endswith(".py"):
        file = Path(name)
        if not file.is_file():
            raise ValueError(f"no recipe file {name!r}")
    else:
        files = recipe_files()
        if name not in files:
            near = difflib.get_close_matches(name, files) or sorted(files)
            raise ValueError(f"no recipe {name!r}; did you mean {', '.join(near)}? A file of your own ends in .py")
        file = files[name]
    module = _module(file)
    if not callable(getattr(module, "recipe", None)):
        raise ValueError(f"{file} has no function recipe(); see diptych/recipes/contrastive/clip.py")
    return Found(file.stem, file, module.recipe, getattr(module, "PAPER", None), getattr(module, "CLAIM", None))


def _module(file: Path) -> ModuleType:
    file = file.resolve()
    name = f"diptych_recipe_{file.parent.name}_{file.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(file):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
