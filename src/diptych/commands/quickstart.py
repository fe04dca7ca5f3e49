"""`diptych quickstart`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych import STARTED
from diptych.commands.flags import parse, parser_for


def quickstart(argv: Sequence[str]) -> None:
    """See everything once, on symbols rendered from fonts: train, measure, index, search."""
    from diptych.quickstart import run

    parser = parser_for("quickstart", "Train on symbols rendered from fonts, measure, index, search. No download.")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the run")
    parser.add_argument("--json", type=Path | None, default=None, help="write the numbers here")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    args = parse(parser, argv)
    run(args.out, numbers=args.json, seed=args.seed, began=STARTED)
