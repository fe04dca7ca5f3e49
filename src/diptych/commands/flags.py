"""What the commands' flags share: how they are written, and the tables and models that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

if TYPE_CHECKING:
    from datasets import Dataset

    from diptych.core.model import Processor
    from diptych.data.bad_rows import BadRows
    from diptych.data.stream import Stream
    from diptych.models.opened import Opened

SPLIT_HELP = (
    "split of the table, or 'all'; default: its own test (or validation) split, else a tenth by a hash of the ids"
)
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "dev", "eval")
MODEL_HELP = "a run of `diptych train`, hf:NAME, open_clip:ARCH/TAG, timm:NAME, sentence-transformers:NAME; or folders"
MAX_LENGTH_HELP = "tokens of a text, for other libraries' models: more stretches their places, less cuts earlier"
TOO_LONG_HELP = "what becomes of longer texts: cut (and counted) or error"
DATA_HELP = "folder, CSV/JSONL/Parquet, tars, saved dataset, hub name, or built-in table such as 'symbols'"


class HelpFormatter(DefaultHelpFormatter):
    """Flags are shown with dashes, as they are typed; underscores work too."""

    def _format_action_invocation(self, action: Any) -> str:
        shown = super()._format_action_invocation(action)
        return shown.replace("--" + action.dest, "--" + action.dest.replace("_", "-"))


def parser_for(command: str, about: str) -> ArgumentParser:
    """An empty parser of a command."""
    return ArgumentParser(
        prog=f"diptych {command}", description=about, formatter_class=HelpFormatter, usage=f"diptych {command} [flags]"
    )


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse flags written with dashes or underscores."""
    return parser.parse_args([underscored(word) for word in argv])


def underscored(word: str) -> str:
    """`--batch-size=8` to `--batch_size=8`; anything else as it is.

    Example:
        >>> underscored("--batch-size=a-b"), underscored("a-b")
        ('--batch_size=a-b', 'a-b')
    """
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def add_data(parser: ArgumentParser) -> None:
    """The flags of every command that reads a table."""
    parser.add_argument("data", type=str, help=DATA_HELP)
    parser.add_argument("--image_column", type=str | None, default=None, help="column of images or of their paths")
    parser.add_argument("--text_column", type=str | None, default=None, help="column of texts")
    parser.add_argument("--id_column", type=str | None, default=None, help="column of ids; rows with one id match")


def table_of(args: Namespace, bad: BadRows, *, needs_text: bool = True) -> Dataset:
    """The table that the flags name; `needs_text` as for `open_table`."""
    from diptych.data.sources import open_table

    columns = {name: args[name] for name in ("image_column", "text_column", "id_column")}
    return open_table(args.data, bad=bad, needs_text=needs_text, **columns)


def add_model(parser: ArgumentParser) -> None:
    """The flags of every command that uses a model."""
    parser.add_argument("model", type=str, help=MODEL_HELP)
    parser.add_argument("--max_length", type=int | None, default=None, help=MAX_LENGTH_HELP)
    parser.add_argument("--too_long", type=Literal["cut", "error"] | None, default=None, help=TOO_LONG_HELP)


def model_of(args: Namespace) -> Opened:
    """The model that the flags name, on the CPU."""
    from diptych.models.opened import open_model

    return open_model(args.model, max_length=args.max_length, too_long=args.too_long)


def held_out_rows(table: Dataset, split: str | None, *, flag: str = "--split") -> tuple[Dataset, str]:
    """The rows to measure on, and the name of their split; `flag` is what a person says it by."""
    from diptych.data.sources import holdout, select_split

    if split is None:
        own = sorted({str(name) for name in table["split"][:]}) if "split" in table.column_names else ["test"]
        split = next((name for wanted in TEST_NAMES for name in own if name.casefold() == wanted), None)
        if split is None:
            raise ValueError(f"the table has the splits {own}, none called a test; say by {flag} which to measure on")
    return select_split(table if split == "all" else holdout(table), split), split


def training_rows(args: Namespace, bad: BadRows) -> Dataset:
    """The rows of a table to train on."""
    from diptych.data.sources import holdout, select_split

    table = table_of(args, bad)
    return select_split(table if args.split == "all" else holdout(table), args.split)


def stream_of(args: Namespace, bad: BadRows) -> Callable[[Mapping[str, Processor]], Stream]:
    """What opens the stream that the flags name. All of it is trained on, unless the shards name splits."""
    from diptych.data.stream import open_stream

    columns = {name: args[name] for name in ("image_column", "text_column", "id_column")}
    split = None if args.split in ("train", "all") else args.split
    return partial(open_stream, args.data, split=split, samples_per_epoch=args.samples_per_epoch, bad=bad, **columns)


def keep_bad_rows(bad: BadRows, file: Path) -> None:
    """Write the rows that were set aside beside the result, and say so."""
    from diptych.console import console
    from diptych.data.bad_rows import BadRows

    if not len(bad):
        file.unlink(missing_ok=True)  # of an earlier time
    elif file.parent.is_dir():
        kept = BadRows(file)
        kept.extend(bad)
        console.print(kept.summary(), highlight=False)


@contextmanager
def kept_as(bad: BadRows, file: Path) -> Iterator[None]:
    """Write the bad rows into `file` at the end of the block, also where it was interrupted."""
    try:
        yield
    finally:
        keep_bad_rows(bad, file)


def kept_beside(bad: BadRows, folder: Path) -> AbstractContextManager[None]:
    """Write the bad rows into `folder` at the end of the block, also where it was interrupted."""
    return kept_as(bad, folder / "bad_rows.jsonl")
