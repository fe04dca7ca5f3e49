"""`diptych search`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from diptych.commands.flags import parser_for, underscored


def search(argv: Sequence[str]) -> None:
    """Search an index by words or by an image."""
    from diptych.console import out
    from diptych.search.collection import Searcher
    from diptych.search.filters import parse_where

    parser = parser_for("search", "Find the images nearest to some words, or to an image.")
    parser.add_argument("index", type=str, help="folder or address that `diptych index` wrote to")
    parser.add_argument("text", type=str, nargs="?", help="what to look for")
    parser.add_argument("--image", type=Path | None, default=None, help="look for images like this one instead")
    parser.add_argument("--limit", type=int, default=10, help="how many hits")
    parser.add_argument("--where", type=str, action="append", help="year>=2010, label=a,b ...; may be repeated")
    parser.add_argument("--model", type=Path | None, default=None, help="the checkpoint, if it was moved")
    parser.add_argument("--json", action="store_true", help="print JSON")
    words = [underscored(word) for word in argv]
    args = parser.parse_args(words)
    if args.limit < 1:
        raise ValueError(f"--limit is {args.limit}; it must be at least 1")
    searcher = Searcher.open(args.index, model=args.model)
    hits = searcher.search(args.text, image=args.image, limit=args.limit, where=parse_where(args.where or []) or None)
    if args.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(hit) for hit in hits], ensure_ascii=False, indent=1) + "\n")
        return
    for place, hit in enumerate(hits, 1):
        texts = hit.payload.get("texts") or [""]
        first = texts[0] if isinstance(texts, list) else str(texts)
        out.print(f"{place:>3}  {hit.score:.3f}  {hit.id}  {first}", highlight=False, markup=False, soft_wrap=True)
