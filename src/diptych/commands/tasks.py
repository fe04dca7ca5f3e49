"""`diptych evaluate --tasks`: the tasks that cards describe, on the tables that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from diptych.commands.flags import held_out_rows, keep_bad_rows, model_of

if TYPE_CHECKING:
    from datasets import Dataset

    from diptych.data.bad_rows import BadRows
    from diptych.evaluation.bench import Bench
    from diptych.evaluation.card import Card
    from diptych.evaluation.tasks import Done
    from diptych.models.opened import Opened


def evaluate_tasks(args: Namespace) -> None:
    """Measure the tasks that `args.tasks` names; print, write JSON and a page.

    Raises:
        ValueError: if a card or a table is not as it must be (before anything is measured), or a task failed (after all
            others were measured and written).
    """
    from diptych.console import bars, console, show_table
    from diptych.data.bad_rows import BadRows
    from diptych.evaluation.card import find_card
    from diptych.evaluation.report import write_html
    from diptych.evaluation.task_report import details, overview, page
    from diptych.evaluation.tasks import Task, measure_all
    from diptych.pictures import thumbnail
    from diptych.training.run import write_json

    cards = [labelled(find_card(name), args.classify) for name in args.tasks]
    names = [card.name for card in cards]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"--tasks names {sorted(twice)[0]!r} twice; results are kept by name")
    bad = BadRows()
    tables = {card.data.path: open_for(args, card, bad) for card in cards}  # before the model, which takes longer
    chosen = [(card, *held_out_rows(tables[card.data.path], args.split or card.split)) for card in cards]
    opened = model_of(args)
    run = Path(args.model) if Path(args.model).is_dir() else None
    with bars() as shown:
        benches: dict[tuple[str | None, str], Bench] = {}
        tasks = []
        for card, rows, split in chosen:
            key = (card.data.path, split)
            if key not in benches:
                training = training_rows_of(tables[card.data.path], split)
                benches[key] = _bench(args, card, opened, rows, training, bad, shown)
            tasks.append(Task(card, benches[key], split))
        done = measure_all(tasks, told=lambda name, place, total: shown.show("tasks", place, total, name))
        shown.show("tasks", len(tasks), len(tasks))
    title = f"{args.model} on {args.data}"
    for one in done:
        if one.measured is not None:
            show_table(details(one))
    show_table(overview(done, title))
    facts = {"model": args.model, "checkpoint": opened.fingerprint, "data": args.data}
    if run:
        keep_bad_rows(bad, run / "evaluation_bad_rows.jsonl")
    elif len(bad):
        console.print(bad.summary(), highlight=False)
    if file := args.json or (run and run / "tasks.json"):
        write_json(
            file, {**facts, "versions": versions(), "tasks": {one.task.card.name: one.to_json() for one in done}}
        )
        console.print(f"numbers: {file}", highlight=False)
    if file := args.report or (run and run / "report.html"):
        splits = ", ".join(dict.fromkeys(split for _, _, split in chosen))
        sizes = ", ".join(f"{len(bench):,}" for bench in benches.values() if "pairs" in vars(bench))
        report = page(done, title, {**facts, "split": splits, "images": sizes or None}, thumbnail)
        console.print(f"report: {write_html(report, file)}", highlight=False)
    if failed := [one for one in done if one.measured is None]:
        raise ValueError("; ".join(f"task {one.task.card.name!r} failed: {one.error}" for one in failed))


def labelled(card: Card, column: str | None) -> Card:
    """The card reading its labels from another column, if it reads labels."""
    if column is None or "label" not in card.arguments():
        return card
    own = card.arguments()["label"]
    needs = [column if name == own else name for name in card.data.needs]
    return replace(card, data=replace(card.data, needs=needs), options={**card.options, "label": column})


def open_for(args: Namespace, card: Card, bad: BadRows) -> Dataset:
    """The table of a card: what the user named, or what lies below it.

    Raises:
        ValueError: if it is not there.
    """
    from diptych.data.sources import open_table

    source = args.data if card.data.path is None else str(Path(args.data) / card.data.path)
    if card.data.path is not None and not Path(source).exists():
        raise ValueError(
            f"task {card.name!r} is measured on {card.data.path!r} below the folder that you name, and there is no "
            f"{source}. Name the folder that holds it, or take a task for any table (diptych evaluate --help)"
        )
    columns = {name: args[name] for name in ("image_column", "text_column", "id_column")}
    return open_table(source, bad=bad, needs_text=False, **columns)


def training_rows_of(table: Dataset, split: str) -> Dataset | None:
    """The rows that may be learned from where `split` is measured; None if there are none."""
    from diptych.data.sources import holdout, select_split

    if split in ("train", "all"):
        return None
    held = holdout(table)
    return select_split(held, "train") if "train" in set(held["split"][:]) else None


def versions() -> dict[str, str]:
    """Of what computed the numbers."""
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("diptych", "torch", "numpy")}}


def tasks_help() -> str:
    """What `--tasks` takes, with the name and the sentence of every card."""
    from diptych.evaluation.card import card_sentences

    listed = "; ".join(f"{name}: {what}" for name, what in card_sentences().items())
    return f"tasks to measure, by name, or YAML cards of your own (docs/evaluation.md). {listed}"


def _bench(
    args: Namespace, card: Card, opened: Opened, rows: Dataset, training: Dataset | None, bad: BadRows, shown: Any
) -> Bench:
    from diptych.evaluation.bench import Bench

    place = Path(args.data) / (card.data.path or "")
    return Bench(
        opened.model,
        rows,
        scorer=opened.note.get("scorer", "dot"),
        training_rows=None if training is None else lambda: training,
        folder=place if place.is_dir() else place.parent,
        bad=bad,
        images=shown.images,
        rows_done=shown.rows,
    )
