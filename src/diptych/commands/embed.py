"""`diptych embed`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from diptych.commands.flags import (
    add_data,
    add_model,
    keep_bad_rows,
    kept_beside,
    model_of,
    parse,
    parser_for,
    table_of,
)

DTYPE_HELP = "that vectors are kept in; the towers' features, of which they are made, are kept in bf16"
PRECISION_HELP = "of the towers: auto is bf16 where it is fast and faithful"
THREADS_HELP = "that decode images ahead; default: one a core. Several processes: torchrun -m diptych embed ..."


def embed(argv: Sequence[str]) -> None:
    """Embed a collection's images and texts into an archive of shards."""
    parser = parser_for("embed", "Embed images and texts into shards on disk; interrupted, the same command goes on.")
    add_model(parser)
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--split", type=str, default="all", help="split of the table; default: all of it")
    parser.add_argument("--shard_rows", type=int, default=16384, help="images of a shard")
    parser.add_argument("--precision", type=Literal["auto", "float32", "bf16"], default="auto", help=PRECISION_HELP)
    parser.add_argument("--dtype", type=Literal["float16", "float32"], default="float16", help=DTYPE_HELP)
    parser.add_argument("--threads", type=int | None, default=None, help=THREADS_HELP)
    parser.add_argument("--overwrite", action="store_true", help="replace embeddings of another model")
    args = parse(parser, argv)
    if args.shard_rows < 1:
        raise ValueError(f"--shard-rows is {args.shard_rows}; it must be at least 1")

    import torch
    from accelerate import PartialState

    from diptych.console import bars, console
    from diptych.data.archive import Archive
    from diptych.data.bad_rows import BadRows
    from diptych.data.sources import holdout, select_split
    from diptych.models.archiving import embed_table, finish
    from diptych.training.processes import from_first, join_processes, wait_for_all, world

    join_processes()
    console.quiet = world()[0] > 0
    opened = model_of(args)
    bad = BadRows()
    table = table_of(args, bad, needs_text=False)
    rows = select_split(table if args.split == "all" else holdout(table), args.split)
    opened.model.to(PartialState().device)
    from_first(
        lambda: Archive.begin(args.out, model=opened.name, fingerprint=opened.fingerprint, overwrite=args.overwrite)
    )
    is_first = world()[0] == 0
    with kept_beside(bad, args.out) if is_first else nullcontext(), bars() as shown:
        embed_table(
            opened.model,
            rows,
            args.out,
            fingerprint=opened.fingerprint,
            shard_rows=args.shard_rows,
            precision=args.precision,
            dtype=getattr(torch, args.dtype),
            threads=args.threads,
            part=world(),
            bad=bad,
            progress=shown.embedded,
        )
    wait_for_all()
    if not is_first:
        return
    archive = finish(
        args.out,
        len(rows),
        fingerprint=opened.fingerprint,
        name=opened.name,
        options=opened.options,
        source=args.data,
        shard_rows=args.shard_rows,
    )
    for shard in archive:  # those of other processes too
        facts = shard.facts()
        bad.extend(facts.bad if facts else ())
    keep_bad_rows(bad, args.out / "bad_rows.jsonl")
    if archive.cut_texts:
        console.print(f"{archive.cut_texts:,} texts were longer than the model reads and were cut")
    console.print(
        f"{archive.rows:,} images and {archive.texts:,} texts are in {args.out} ({archive.shards:,} shards)",
        highlight=False,
    )
