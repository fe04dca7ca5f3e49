"""`diptych index`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.commands.flags import add_data, add_model, kept_as, model_of, parse, parser_for, table_of

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from diptych.search.cluster import Cluster

URL_HELP = "instead of --out, the index's address on a Qdrant cluster: http://HOST:6333/NAME; the key in QDRANT_API_KEY"


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
    parser.add_argument("--out", type=Path | None, default=None, help="folder of the index; replaces an earlier one")
    parser.add_argument("--url", type=str | None, default=None, help=URL_HELP)
    parser.add_argument("--shards", type=int | None, default=None, help="with --url: parts to spread rows over")
    parser.add_argument("--replicas", type=int | None, default=None, help="with --url: copies of each part; default: 1")
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
    place, cluster = place_of(args)
    opened = model_of(args)
    if (Path(args.data) / "archive.json").is_file():
        given = [name for name in ("image_column", "text_column", "id_column") if args[name] is not None]
        if given or args.split != "all":
            raise ValueError(f"{args.data} is an archive, all of which is indexed: give no --split and no columns")
        archive = Archive.open(args.data)
        if archive.fingerprint != opened.fingerprint:
            raise ValueError(f"{args.data} holds embeddings of another model ({archive.model}): embed with this one")
        with bars() as shown:
            told(index_archive(archive, place, cluster=cluster, rows_done=shown.rows, **kept), place)
        return
    bad = BadRows()
    table = table_of(args, bad, needs_text=False)
    rows = select_split(table if args.split == "all" else holdout(table), args.split)
    with kept_as(bad, bad_rows_file(place)), bars() as shown:
        count = index_table(
            opened,
            rows,
            place,
            source=args.data,
            cluster=cluster,
            bad=bad,
            rows_done=shown.rows,
            **kept,
        )
    told(count, place)


def place_of(args: Namespace) -> tuple[Path | str, Cluster | None]:
    """Where the index goes: the folder of --out, or the address of --url and how it lies there."""
    from diptych.search.address import cluster_address, is_address
    from diptych.search.cluster import Cluster

    if (args.out is None) == (args.url is None):
        raise ValueError("say where the index goes: either --out FOLDER, or --url http://HOST:6333/NAME")
    if args.out is not None:
        if args.shards is not None or args.replicas is not None:
            raise ValueError("--shards and --replicas are of an index on a cluster: give --url instead of --out")
        return args.out, None
    if not is_address(args.url):
        raise ValueError(f"--url is {args.url!r}; expected http://HOST:6333/NAME")
    cluster = Cluster(shards=args.shards, replicas=1 if args.replicas is None else args.replicas)
    cluster_address(args.url, cluster)
    return args.url, cluster


def bad_rows_file(place: Path | str) -> Path:
    """Where rows that were set aside are written: into the index's folder, or here by its name on the cluster."""
    from diptych.search.address import read_address

    if isinstance(place, Path):
        return place / "bad_rows.jsonl"
    return Path(f"{read_address(place).name}.bad_rows.jsonl")


def told(count: int, place: Path | str) -> None:
    """Say what is done and what comes next."""
    from diptych.console import console

    console.print(f"{count:,} images are in {place}")
    console.print(f'next: diptych search {place} "words"', highlight=False)
