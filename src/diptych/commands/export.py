"""`diptych export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diptych.commands.flags import parse, parser_for


def export(argv: Sequence[str]) -> None:
    """Write a model for another library, with a model card."""
    from diptych.console import console
    from diptych.exporting import Target, push
    from diptych.exporting import export as write

    parser = parser_for("export", "Write a trained model as open_clip, transformers, ONNX or Diptych opens it.")
    parser.add_argument("run", type=str, help="folder that `diptych train` wrote, or a name such as open_clip:ViT-B-32")
    parser.add_argument("--to", type=Target, required=True, help="for which library")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; it appears when it is whole")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    parser.add_argument("--push_to_hub", type=str | None, default=None, help="upload it too, as ORGANISATION/NAME")
    parser.add_argument("--public", action="store_true", help="let everybody see a place that --push-to-hub makes")
    args = parse(parser, argv)
    done = write(args.run, args.out, to=args.to, overwrite=args.overwrite)
    for note in done.notes:
        console.print(f"note: {note}", highlight=False)
    console.print(f"the model is in {done.folder}; its card is README.md", highlight=False)
    if args.push_to_hub is not None:
        address = push(done.folder, args.push_to_hub, private=not args.public)
        console.print(f"uploaded to {address}", highlight=False)
