"""`diptych data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.commands.flags import add_data, parse, parser_for, table_of


def data(argv: Sequence[str]) -> None:
    """Look at a table: counts, columns, lengths, bad rows, a contact sheet."""
    from diptych.console import console, out
    from diptych.data.bad_rows import BadRows
    from diptych.data.summary import contact_sheet, render, summarise

    parser = parser_for("data", "Look at a table before training on it.")
    add_data(parser)
    parser.add_argument("--sheet", type=Path | None, default=None, help="write pictures and texts here (PNG)")
    parser.add_argument("--decode", type=int, default=256, help="images to decode as a sample")
    args = parse(parser, argv)
    bad = BadRows()
    table = table_of(args, bad)
    out.print(render(summarise(table, decode=args.decode)))
    for row in list(bad)[:10]:
        out.print(f"bad row: {row.where}: {row.reason}: {row.detail}", highlight=False, markup=False)
    if len(bad):
        out.print(bad.summary(), highlight=False)
    if args.sheet:
        console.print(f"contact sheet: {contact_sheet(table, args.sheet)}", highlight=False)
