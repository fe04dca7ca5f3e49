"""`diptych index`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.commands.flags import add_data, add_model, kept_beside, model_of, parse, parser_for, table_of


def index(argv: Sequence[str]) -> None:
    """Put a collection into a search index."""
    from diptych.console import bars
    from diptych.data.archive import Archive
    from diptych.data.bad_rows import BadRows
    from diptych.data.sources import holdout, select_split
    from diptych.search.collection import index_archive, index_table

    parser = parser_for("index", "Put a table's images, or what `diptych embed` wrote of them, into an index.")
    add_model(parser)
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the index; an earlier one there is replaced")
    parser.add_argument("--split", type=str, default="all", help="split of the table; default: all of it")
    args = parse(parser, argv)
    opened = model_of(args)
    if (Path(args.data) / "archive.json").is_file():
        given = [name for name in ("image_column", "text_column", "id_column") if args[name] is not None]
        if given or args.split != "all":
            raise ValueError(f"{args.data} is an archive, all of which is indexed: give no --split and no columns")
        archive = Archive.open(args.data)
        if archive.fingerprint != opened.fingerprint:
            raise ValueError(f"{args.data} holds embeddings of another model ({archive.model}): embed with this one")
        with bars() as shown:
            told(index_archive(archive, args.out, rows_done=shown.rows), args.out)
        return
    bad = BadRows()
    table = table_of(args, bad, needs_text=False)
    rows = select_split(table if args.split == "all" else holdout(table), args.split)
    with kept_beside(bad, args.out), bars() as shown:
        count = index_table(
            opened,
            rows,
            args.out,
            source=args.data,
            bad=bad,
            images=shown.images,
            rows_done=shown.rows,
        )
    told(count, args.out)


def told(count: int, folder: Path) -> None:
    """Say what is done and what comes next."""
    from diptych.console import console

    console.print(f"{count:,} images are in {folder}")
    console.print(f'next: diptych search {folder} "words"', highlight=False)
