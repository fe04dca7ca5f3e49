"""`diptych index`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

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
    parser.add_argument("--spaces", type=list[str] | None, default=None, help="to fill; default: all of the model")
    parser.add_argument("--quantization", type=Literal["scalar", "product", "binary", "none"], default="scalar")
    parser.add_argument("--pool_tokens", type=float, default=1.0, help="keep this share fewer tokens in a late space")
    args = parse(parser, argv)
    if args.pool_tokens < 1:
        raise ValueError(f"--pool-tokens is {args.pool_tokens}; it must be at least 1, which keeps all tokens")
    kept: dict[str, Any] = {
        "wanted": args.spaces,
        "quantization": None if args.quantization == "none" else args.quantization,
        "pool": args.pool_tokens,
    }
    opened = model_of(args)
    if (Path(args.data) / "archive.json").is_file():
        given = [name for name in ("image_column", "text_column", "id_column") if args[name] is not None]
        if given or args.split != "all":
            raise ValueError(f"{args.data} is an archive, all of which is indexed: give no --split and no columns")
        archive = Archive.open(args.data)
        if archive.fingerprint != opened.fingerprint:
            raise ValueError(f"{args.data} holds embeddings of another model ({archive.model}): embed with this one")
        with bars() as shown:
            told(index_archive(archive, args.out, rows_done=shown.rows, **kept), args.out)
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
            rows_done=shown.rows,
            **kept,
        )
    told(count, args.out)


def told(count: int, folder: Path) -> None:
    """Say what is done and what comes next."""
    from diptych.console import console

    console.print(f"{count:,} images are in {folder}")
    console.print(f'next: diptych search {folder} "words"', highlight=False)
