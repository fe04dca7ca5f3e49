"""`diptych methods`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.commands.flags import parse, parser_for

if TYPE_CHECKING:
    from diptych.experiments.methods import Method


def methods(argv: Sequence[str]) -> None:
    """List every published method: what is built, what it claims, what was measured."""
    from diptych.console import console
    from diptych.experiments.methods import STATES, families
    from diptych.experiments.methods import methods as every
    from diptych.experiments.record import read_records
    from diptych.experiments.zoo import page

    parser = parser_for("methods", "The catalogue of published systems, and what is built and measured of them here.")
    parser.add_argument("--family", type=str | None, default=None, help="of the catalogue")
    parser.add_argument("--verdict", type=str | None, default=None, help="one of: " + ", ".join(STATES))
    parser.add_argument("--built", action="store_true", help="only what is built")
    parser.add_argument("--json", action="store_true", help="print JSON, with titles, parts and every value measured")
    parser.add_argument("--markdown", type=Path | None, default=None, help="write the page of all methods here")
    parser.add_argument("--folder", type=Path, default=Path("reproductions"), help="where the records are")
    args = parse(parser, argv)
    if args.family is not None and args.family not in families():
        raise ValueError(f"no family {args.family!r}; there are {', '.join(families())}")
    if args.verdict is not None and args.verdict not in STATES:
        raise ValueError(f"--verdict is {args.verdict!r}; it is one of {', '.join(STATES)}")
    if args.markdown and (args.family or args.verdict or args.built or args.json):
        raise ValueError("--markdown writes the page of all methods: give no --family, --verdict, --built or --json")
    if not args.folder.is_dir():
        why = f"no folder {args.folder} here: what was measured is not known; --folder names another"
        console.print(why, highlight=False, markup=False)
    found = every(read_records(args.folder))
    if args.markdown:
        args.markdown.write_text(page(found), encoding="utf-8")
        console.print(f"page: {args.markdown}", highlight=False)
        return
    wanted = [
        method
        for method in found
        if args.family in (None, method.system.family)
        and (args.verdict is None or args.verdict in method.states)
        and (method.built or not args.built)
    ]
    if args.json:
        sys.stdout.write(json.dumps([as_json(method) for method in wanted], ensure_ascii=False, indent=1) + "\n")
    else:
        show(wanted)


def as_json(method: Method) -> dict[str, object]:
    """A method as plain values, of one level but for its records."""
    records = [asdict(record) for record in method.records]
    return {**asdict(method.system), "built": method.built, "verdicts": method.states, "records": records}


def show(methods: Sequence[Method]) -> None:
    """The methods as tables on the terminal, one a family."""
    from rich.markup import escape
    from rich.table import Table

    from diptych.console import out
    from diptych.experiments.methods import families
    from diptych.experiments.zoo import measured

    for family in families():
        of = [method for method in methods if method.system.family == family]
        drawn = Table(title=f"{family}: {len(of)}", title_justify="left", show_lines=True)
        drawn.add_column("number", justify="right", no_wrap=True)
        drawn.add_column("name", ratio=3, overflow="fold")
        drawn.add_column("built", ratio=4, overflow="fold")
        drawn.add_column("claim", ratio=8, overflow="fold")
        drawn.add_column("measured", ratio=6, overflow="fold")
        drawn.add_column("verdict", ratio=3, overflow="fold")
        for method in of:
            system, told = method.system, "\n".join(measured(record) for record in method.records)
            cells = (system.name, "\n".join(method.built), system.claim, told, "; ".join(method.states))
            drawn.add_row("" if system.number is None else str(system.number), *map(escape, cells))
        if of:
            out.print(drawn)
    out.print(f"{len(methods)} methods")
