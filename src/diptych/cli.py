"""The command line: `diptych COMMAND ...`. Each command has its own parser; what it needs is imported when it runs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from diptych import STARTED, __version__

if TYPE_CHECKING:
    from datasets import Dataset

    from diptych.core.model import Processor
    from diptych.data.bad_rows import BadRows
    from diptych.data.stream import Stream
    from diptych.training.recipe import Recipe

SPLIT_HELP = (
    "split of the table, or 'all'; default: its own test (or validation) split, else a tenth by a hash of the ids"
)
VALIDATE_HELP = "split to measure on after every epoch (mean of recall@1, 5, 10 both ways); the best epoch is kept"
STREAM_HELP = "read shards (tars, Parquet) one after another, for collections too large for a table (true/false)"
RESUME_HELP = "go on with an unfinished run in --out: auto (if there is one), never, must"
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "dev", "eval")
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


def table_of(args: Namespace, bad: BadRows) -> Dataset:
    """The table that the flags name."""
    from diptych.data.sources import open_table

    columns = {name: args[name] for name in ("image_column", "text_column", "id_column")}
    return open_table(args.data, bad=bad, **columns)


def held_out_rows(table: Dataset, split: str | None) -> tuple[Dataset, str]:
    """The rows to measure on, and the name of their split."""
    from diptych.data.sources import holdout, select_split

    if split is None:
        own = sorted({str(name) for name in table["split"][:]}) if "split" in table.column_names else ["test"]
        split = next((name for wanted in TEST_NAMES for name in own if name.casefold() == wanted), None)
        if split is None:
            raise ValueError(f"the table has the splits {own}, none called a test; say by --split which to measure on")
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


def train(argv: Sequence[str]) -> None:
    """Train a model on a collection of images and texts."""
    from diptych.console import bars, console
    from diptych.data.bad_rows import BadRows
    from diptych.data.pairs import Pairs
    from diptych.data.store import hash_of
    from diptych.evaluation.evaluate import mean_recall
    from diptych.models.checkpoint import load, read_description
    from diptych.training.run import Listener, open_run
    from diptych.training.run import train as run
    from diptych.training.running import Running

    recipe_name, rest = take_flag(argv, "--recipe", "clip")
    parser, make = recipe_parser(recipe_name)
    plain, dotted = split_dotted([underscored(word) for word in rest])
    args = parser.parse_args(plain)
    if args.recipe not in ("clip", recipe_name):  # a --config file names another
        train([*rest, "--recipe", args.recipe])
        return
    recipe, arguments = make(args, dotted)
    bad = BadRows()
    rows = stream_of(args, bad) if args.stream else training_rows(args, bad)
    about = {"recipe": recipe_name, "arguments": arguments, "overrides": dotted, "data": args.data, "split": args.split}
    if recipe_name.endswith(".py"):  # a file of the user's own, which may change
        about["recipe_file"] = hash_of(Path(recipe_name).read_bytes())
    init = load(open_run(args.init)) if args.init else None
    about["init"] = read_description(open_run(args.init))["fingerprint"] if args.init else None
    measure = None
    if args.validate is not None:
        about["validate"] = args.validate
        if args.stream:
            raise ValueError("--validate measures rows of the same table; a stream has none: evaluate it afterwards")
        held_out, _ = held_out_rows(table_of(args, BadRows()), args.validate)
        measure = mean_recall(held_out)
    is_first = int(os.environ.get("RANK", "0")) == 0  # of several launched processes
    console.quiet = not is_first
    with kept_beside(bad, args.out) if is_first else nullcontext(), bars() as shown:
        done = run(
            recipe,
            rows,
            args.out,
            about=about,
            init=init,
            seed=args.seed,
            running=Running(**{field.name: args[field.name] for field in dataclasses.fields(Running)}),
            measure=measure,
            resume=args.resume,
            overwrite=args.overwrite,
            bad=bad,
            listener=Listener(shown.images, shown.rows, shown.steps),
        )
    if isinstance(done.pairs, Pairs):
        if done.pairs.cut_texts:
            console.print(f"{done.pairs.cut_texts:,} texts were longer than --max-length and were cut")
        what = f"{len(done.pairs):,} images and {done.pairs.texts:,} texts"
    else:
        what = f"{len(done.pairs.shards):,} shards"
    console.print(
        f"trained {recipe_name} on {what}: "
        f"{done.fitted.steps:,} steps, {done.fitted.seconds:,.0f} s, {done.fitted.pairs_per_second:,.0f} pairs/s"
    )
    if done.fitted.waiting > 0.2:
        console.print(
            f"{done.fitted.waiting:.0%} of the time went by waiting for data: smaller --image-size, images stored at "
            "about that size, or more cores would help"
        )
    if done.fitted.skipped:
        console.print(f"{done.fitted.skipped} steps were skipped (see `skipped` in {args.out / 'log.jsonl'})")
    if done.kept:
        console.print(f"kept the best of the epochs: {done.kept['epoch']} (mean recall {done.kept['score']:.3f})")
    console.print(f"next: diptych evaluate {args.out} {args.data}", highlight=False)


Maker = Callable[[Namespace, dict[str, str]], tuple[Callable[[], "Recipe"], dict[str, Any]]]


def recipe_parser(name: str) -> tuple[ArgumentParser, Maker]:
    """The parser of `train` for a recipe, and what makes of its result the recipe and its arguments as plain values."""
    from diptych.core.configuration import describe
    from diptych.recipes import find_recipe
    from diptych.recipes.override import override
    from diptych.training.running import Running

    found = find_recipe(name)
    title = f" ({found.paper.title})" if found.paper else ""
    parser = parser_for("train", f"Train a model on a collection of images and texts. Recipe: {name}{title}")
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", type=str, default="clip", help="name of a method, or a file of your own (.py)")
    parser.add_argument("--split", type=str, default="train", help="split to train on, or 'all'")
    parser.add_argument("--stream", type=bool, default=False, help=STREAM_HELP)
    parser.add_argument(
        "--samples_per_epoch", type=int | None, default=None, help="of a stream whose shards are remote"
    )
    parser.add_argument("--init", type=Path | None, default=None, help="run to take the starting weights from")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--validate", type=str | None, default=None, help=VALIDATE_HELP)
    parser.add_argument("--resume", type=Literal["auto", "never", "must"], default="auto", help=RESUME_HELP)
    parser.add_argument("--overwrite", action="store_true", help="throw away what is in --out")
    parser.add_argument("--config", action="config", help="YAML file with any of these flags")
    parser.add_class_arguments(Running, as_group=True)
    hints = get_type_hints(found.recipe)
    groups: dict[str, Any] = {n: cls for n, cls in hints.items() if dataclasses.is_dataclass(cls) and n != "return"}
    for cls in groups.values():
        parser.add_class_arguments(cls, as_group=True)
    own = parser.add_function_arguments(found.recipe, skip=set(groups), as_group=True)

    def make(args: Namespace, dotted: dict[str, str]) -> tuple[Callable[[], Recipe], dict[str, Any]]:
        fields = {name: {f.name: args[f.name] for f in dataclasses.fields(cls)} for name, cls in groups.items()}
        options = {option: args[option] for option in own}
        given = {name: groups[name](**values) for name, values in fields.items()}
        return (lambda: override(found.recipe(**given, **options), dotted)), describe({**fields, **options})

    return parser, make


def take_flag(argv: Sequence[str], flag: str, default: str) -> tuple[str, list[str]]:
    """The value of one flag, and the other words; needed before the parser can be made."""
    words = list(argv)
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            return words[i + 1], words[:i] + words[i + 2 :]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1], words[:i] + words[i + 1 :]
    return default, words


def split_dotted(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Words for the parser, and dotted overrides of the recipe: `--phases.0.schedule.lr 1e-4`."""
    plain: list[str] = []
    dotted: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if word.startswith("--") and "." in flag:
            dotted[flag[2:]] = value if equals else next(words, "")
        else:
            plain.append(word)
    return plain, dotted


def evaluate(argv: Sequence[str]) -> None:
    """Measure a trained model on a table."""
    from diptych.console import bars, console, show_table
    from diptych.data.bad_rows import BadRows
    from diptych.evaluation.evaluate import evaluate as measure
    from diptych.evaluation.evaluate import gallery
    from diptych.evaluation.report import Report, accuracy_table, recall_table, write_html
    from diptych.models.checkpoint import load, read_description
    from diptych.pictures import thumbnail
    from diptych.training.journal import read_log
    from diptych.training.run import open_run, write_json

    parser = parser_for("evaluate", "Measure retrieval both ways, on rows the model has not seen, against chance.")
    parser.add_argument("run", type=Path, help="folder that `diptych train` wrote")
    add_data(parser)
    parser.add_argument("--split", type=str | None, default=None, help=SPLIT_HELP)
    parser.add_argument("--classify", type=str | None, default=None, help="column of class names: zero-shot accuracy")
    parser.add_argument("--json", type=Path | None, default=None, help="the numbers; default: RUN/evaluation.json")
    parser.add_argument("--report", type=Path | None, default=None, help="the page; default: RUN/report.html")
    args = parse(parser, argv)
    model_folder = open_run(args.run)
    description = read_description(model_folder)
    bad = BadRows()
    rows, split = held_out_rows(table_of(args, bad), args.split)
    with bars() as shown:
        done = measure(
            load(model_folder),
            rows,
            scorer=(description["note"] or {}).get("scorer", "dot"),
            label=args.classify,
            bad=bad,
            images=shown.images,
            rows_done=shown.rows,
        )
    title = f"{args.data}, split {split}: {len(done.pairs):,} images, {done.pairs.texts:,} texts"
    tables = [recall_table(done.retrieval, title)]
    if done.classification:
        tables.append(accuracy_table({args.classify: done.classification}))
    for table in tables:
        show_table(table)
    keep_bad_rows(bad, args.run / "evaluation_bad_rows.jsonl")
    facts = {"model": str(args.run), "checkpoint": description["fingerprint"], "data": args.data, "split": split}
    numbers = {**facts, "gallery": len(done.pairs), "texts": done.pairs.texts, **done.flat()}
    write_json(args.json or args.run / "evaluation.json", numbers)
    curves = {"loss": [(line["step"], line["loss"]) for line in read_log(args.run)]}
    examples = gallery(done, picture=thumbnail)
    report = Report("Evaluation", facts, curves if curves["loss"] else {}, tables=tables, gallery=examples)
    page = write_html(report, args.report or args.run / "report.html")
    console.print(f"report: {page}", highlight=False)


def index(argv: Sequence[str]) -> None:
    """Put a collection into a search index."""
    from diptych.console import bars, console
    from diptych.data.bad_rows import BadRows
    from diptych.data.sources import holdout, select_split
    from diptych.models import load
    from diptych.search.collection import index_table
    from diptych.training.run import open_run

    parser = parser_for("index", "Embed a table's images and put them into an index on disk.")
    parser.add_argument("run", type=Path, help="folder that `diptych train` wrote")
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the index; an earlier one there is replaced")
    parser.add_argument("--split", type=str, default="all", help="split of the table; default: all of it")
    args = parse(parser, argv)
    checkpoint = open_run(args.run)
    bad = BadRows()
    table = table_of(args, bad)
    rows = select_split(table if args.split == "all" else holdout(table), args.split)
    with kept_beside(bad, args.out), bars() as shown:
        count = index_table(
            load(checkpoint),
            rows,
            args.out,
            checkpoint=checkpoint,
            source=args.data,
            bad=bad,
            images=shown.images,
            rows_done=shown.rows,
        )
    console.print(f"{count:,} images are in {args.out}")
    console.print(f'next: diptych search {args.out} "words"', highlight=False)


def search(argv: Sequence[str]) -> None:
    """Search an index by words or by an image."""
    from diptych.console import out
    from diptych.search.collection import Searcher
    from diptych.search.filters import parse_where

    parser = parser_for("search", "Find the images nearest to some words, or to an image.")
    parser.add_argument("index", type=Path, help="folder that `diptych index` wrote")
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


def quickstart(argv: Sequence[str]) -> None:
    """See everything once, on symbols rendered from fonts: train, measure, index, search."""
    from diptych.quickstart import run

    parser = parser_for("quickstart", "Train on symbols rendered from fonts, measure, index, search. No download.")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the run")
    parser.add_argument("--json", type=Path | None, default=None, help="write the numbers here")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    args = parse(parser, argv)
    run(args.out, numbers=args.json, seed=args.seed, began=STARTED)


def keep_bad_rows(bad: BadRows, file: Path) -> None:
    """Write the rows that were set aside beside the result, and say so."""
    from diptych.console import console
    from diptych.data.bad_rows import BadRows

    if len(bad) and file.parent.is_dir():
        kept = BadRows(file)
        kept.extend(bad)
        console.print(kept.summary(), highlight=False)


@contextmanager
def kept_beside(bad: BadRows, folder: Path) -> Iterator[None]:
    """Write the bad rows into `folder` at the end of the block, also where it was interrupted."""
    try:
        yield
    finally:
        keep_bad_rows(bad, folder / "bad_rows.jsonl")


COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "quickstart": quickstart,
    "train": train,
    "evaluate": evaluate,
    "index": index,
    "search": search,
    "export": export,
    "data": data,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0 done, 2 the user's to mend, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] in ("--version", "-V"):
        sys.stdout.write(f"diptych {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        sys.stderr.write(f"diptych: no command {words[0]!r}; there are {', '.join(COMMANDS)}\n")
        return 2
    show_notes()
    try:
        COMMANDS[words[0]](words[1:])
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; give the same command again\n")
        return 130
    except (ValueError, OSError, RuntimeError, KeyError, ImportError, MemoryError, ArithmeticError) as error:
        if os.environ.get("DIPTYCH_TRACEBACK"):
            raise
        return _explain(error)
    return 0


def show_notes() -> None:
    """Let what the library notes (rows merged, ids shared, members not used) be seen."""
    import logging

    notes = logging.getLogger("diptych")
    if not notes.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("note: %(message)s"))
        notes.addHandler(handler)
        notes.setLevel(logging.INFO)


def _explain(error: Exception) -> int:
    """Say on one line what is wrong; the whole trace with `DIPTYCH_TRACEBACK=1`."""
    from diptych.training.interrupt import Interrupted

    if isinstance(error, Interrupted):
        sys.stderr.write(f"{error}; give the same command again to go on\n")
        return 130
    said = str(error) if isinstance(error, ValueError | OSError | ImportError) else f"{type(error).__name__}: {error}"
    sys.stderr.write(f"error: {said}\n")
    return 2


def overview() -> str:
    """The help of `diptych` itself."""
    lines = [f"  {name:<12}{(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"diptych {__version__}: align images with language",
            "",
            "usage: diptych COMMAND [flags]        diptych COMMAND --help",
            "",
            *lines,
            "",
            "Begin with `diptych quickstart`.",
            "",
        ]
    )
