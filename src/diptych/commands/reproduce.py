"""`diptych reproduce`."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.commands.flags import parse, parser_for

if TYPE_CHECKING:
    from diptych.experiments.record import Record


def reproduce(argv: Sequence[str]) -> None:
    """Measure papers' claims with several seeds: a method against its baseline."""
    from diptych.console import out
    from diptych.training.interrupt import Interrupted

    parser = parser_for("reproduce", "Measure the claim of a paper, or of many, as the files in a folder say it.")
    parser.add_argument("name", type=str, nargs="?", help="of the method: measures reproductions/NAME.py")
    parser.add_argument("--family", type=str | None, default=None, help="all of a family of the catalogue of systems")
    parser.add_argument("--all", action="store_true", help="every reproduction of the folder")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on; at least 2")
    parser.add_argument("--again", action="store_true", help="leave aside what was measured before")
    parser.add_argument("--folder", type=Path, default=Path("reproductions"), help="where the reproductions are")
    args = parse(parser, argv)
    if sum([args.name is not None, args.family is not None, args.all]) != 1:
        raise ValueError("say what to reproduce: a NAME, --family FAMILY or --all")
    if args.seeds < 2:
        raise ValueError(f"--seeds is {args.seeds}; an interval needs at least 2")
    if args.name is not None:
        measured(args.name, args.folder, seeds=args.seeds, again=args.again)
        return
    names, without, failed = chosen(args.folder, args.family)
    records: dict[str, Record] = {}
    for name in names:
        out.rule(name)
        try:
            records[name] = measured(name, args.folder, seeds=args.seeds, again=args.again)
        except Interrupted:
            raise
        except Exception as error:  # whatever an arm stumbles over, the others are measured
            failed[name] = said(error)
            out.print(f"{name} failed: {failed[name]}", highlight=False, markup=False)
    out.rule("all of them")
    for name, record in records.items():
        words = f"{name}: {record.verdict}; {record.figure} {record.apart()}"
        out.print(words, highlight=False, markup=False, soft_wrap=True)
    for name, why in failed.items():
        out.print(f"{name}: failed: {why}", highlight=False, markup=False, soft_wrap=True)
    if without:
        out.print(f"recipes without a reproduction: {', '.join(without)}", highlight=False, markup=False)
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(failed) + len(records)} failed: {', '.join(failed)}")


def measured(name: str, folder: Path, *, seeds: int, again: bool) -> Record:
    """Measure one, write its record beside its file, print the table. What is kept lies under `runs/`."""
    from diptych.console import console, out
    from diptych.experiments.find import find_reproduction
    from diptych.experiments.record import table
    from diptych.experiments.reproduction import reproduce as measure

    found = find_reproduction(name, folder)
    record = measure(
        found.what,
        kept=found.file.parent.parent / "runs" / "reproductions" / f"{name}.partial.json",
        settings=found.settings,
        seeds=seeds,
        again=again,
        folder=found.file.parent,
        tell=lambda line: console.print(line, highlight=False, markup=False),
    )
    record.write(found.file.with_suffix(".json"))
    out.print(table(record), highlight=False, markup=False, soft_wrap=True)
    return record


def chosen(folder: Path, family: str | None) -> tuple[list[str], list[str], dict[str, str]]:
    """Reproductions of a family (all if None), its recipes that have none, and files that cannot be read: why."""
    from diptych.experiments.find import find_reproduction, reproduction_files
    from diptych.experiments.methods import families, family_of
    from diptych.recipes import find_recipe, recipe_names

    files = reproduction_files(folder)
    if not files:
        raise ValueError(f"no reproductions in {folder}; --folder says where they are")
    without = [name for name in recipe_names() if name not in files]
    if family is None:
        return list(files), without, {}
    if family not in families():
        raise ValueError(f"no family {family!r}; there are {', '.join(families())}")
    names, failed = [], {}
    for name in files:
        try:
            if family_of(find_reproduction(name, folder).what.system) == family:
                names.append(name)
        except Exception as error:
            failed[name] = said(error)
    papers = {name: find_recipe(name).paper for name in without}
    without = [name for name, paper in papers.items() if family_of(paper and paper.system) == family]
    if not names and not failed:
        of_recipes = f"; its recipes without one: {', '.join(without)}" if without else ""
        raise ValueError(f"the family {family!r} has no reproduction in {folder}{of_recipes}")
    return names, without, failed


def said(error: Exception) -> str:
    """What went wrong on one line; the whole trace with `DIPTYCH_TRACEBACK=1`."""
    if os.environ.get("DIPTYCH_TRACEBACK"):
        traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"
