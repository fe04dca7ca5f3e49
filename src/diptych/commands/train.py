"""`diptych train`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from diptych.commands.flags import (
    add_data,
    held_out_rows,
    kept_beside,
    parser_for,
    stream_of,
    table_of,
    training_rows,
    underscored,
)

if TYPE_CHECKING:
    from diptych.training.recipe import Recipe

VALIDATE_HELP = "split to measure on after every epoch (mean of recall@1, 5, 10 both ways); the best epoch is kept"
STREAM_HELP = "read shards (tars, Parquet) one after another, for collections too large for a table (true/false)"
INIT_HELP = "run to take the weights from, or a model to take the towers from: hf:NAME, open_clip:ARCH/TAG, ..."
RESUME_HELP = "go on with an unfinished run in --out: auto (if there is one), never, must"


def train(argv: Sequence[str]) -> None:
    """Train a model on a collection of images and texts."""
    from diptych.console import bars, console
    from diptych.data.bad_rows import BadRows
    from diptych.data.pairs import Pairs
    from diptych.data.store import hash_of
    from diptych.evaluation.evaluate import mean_recall
    from diptych.models.opened import open_model
    from diptych.training.run import Listener
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
    init = open_model(args.init) if args.init else None
    about["init"] = init.fingerprint if init else None
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
    from diptych.recipes import find_recipe
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
    parser.add_argument("--init", type=str | None, default=None, help=INIT_HELP)
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--validate", type=str | None, default=None, help=VALIDATE_HELP)
    parser.add_argument("--resume", type=Literal["auto", "never", "must"], default="auto", help=RESUME_HELP)
    parser.add_argument("--overwrite", action="store_true", help="throw away what is in --out")
    parser.add_argument("--config", action="config", help="YAML file with any of these flags")
    parser.add_class_arguments(Running, as_group=True)
    return parser, add_recipe(parser, found.recipe)


def add_recipe(parser: ArgumentParser, recipe: Callable[..., Recipe]) -> Maker:
    """The flags of a recipe: the fields of its dataclass arguments, and its own options."""
    from diptych.core.configuration import describe
    from diptych.recipes.override import override

    hints = get_type_hints(recipe)
    groups: dict[str, Any] = {n: cls for n, cls in hints.items() if dataclasses.is_dataclass(cls) and n != "return"}
    for cls in groups.values():
        parser.add_class_arguments(cls, as_group=True)
    own = parser.add_function_arguments(recipe, skip=set(groups), as_group=True)

    def make(args: Namespace, dotted: dict[str, str]) -> tuple[Callable[[], Recipe], dict[str, Any]]:
        fields = {name: {f.name: args[f.name] for f in dataclasses.fields(cls)} for name, cls in groups.items()}
        options = {option: args[option] for option in own}
        given = {name: groups[name](**values) for name, values in fields.items()}
        return (lambda: override(recipe(**given, **options), dotted)), describe({**fields, **options})

    return make


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
