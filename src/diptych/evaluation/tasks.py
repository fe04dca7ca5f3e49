"""Measure a model on tasks: each card's protocol on its table, every embedding made once for all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from diptych.evaluation.bench import Bench
from diptych.evaluation.card import Card
from diptych.evaluation.hashes import hash_of_model, hash_of_plain, hash_of_texts
from diptych.evaluation.intervals import intervals
from diptych.evaluation.measured import Measured
from diptych.evaluation.slices import Slice, slices_of


@dataclass(frozen=True, eq=False)
class Task:
    """A card and the bench it is measured on.

    Attributes:
        card: what to do.
        bench: where.
        split: of the table, as the user or the card named it.
    """

    card: Card
    bench: Bench
    split: str


@dataclass(frozen=True, eq=False)
class Done:
    """A task that was measured, or why it was not.

    Attributes:
        task: which.
        measured: what was found; None where it failed.
        error: why; empty where it did not.
        intervals: name of a number -> its 95 % interval, where it is the mean of items.
        slices: of the card's metric.
        hashes: SHA-256 of `data`, `model`, `prompts` (None where no words were asked for) and `card`.
        seconds: it took, embeddings included.
    """

    task: Task
    measured: Measured | None = None
    error: str = ""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    hashes: dict[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0

    def value(self) -> float:
        """Of the card's metric; NaN where the task failed."""
        return self.measured.numbers[self.task.card.metric] if self.measured else math.nan

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps` takes; numbers that are not finite as None."""
        card, about = self.task.card, {"what": self.task.card.what, "split": self.task.split}
        if self.measured is None:
            return {**about, "error": self.error}
        return {
            **about,
            "protocol": card.protocol,
            "options": plain(card.arguments()),
            "metric": card.metric,
            "higher": card.higher,
            "value": _finite(self.value()),
            "numbers": {name: _finite(value) for name, value in self.measured.numbers.items()},
            "intervals": {name: [_finite(low), _finite(high)] for name, (low, high) in self.intervals.items()},
            "chance": {name: _finite(value) for name, value in self.measured.chance.items()},
            "slices": {
                name: [
                    {"name": s.name, "queries": s.queries, "value": _finite(s.value)}
                    | {"interval": [_finite(s.low), _finite(s.high)]}
                    for s in rows
                ]
                for name, rows in self.slices.items()
            },
            "notes": list(self.measured.notes),
            "published": [vars(one) for one in card.published],
            "sha256": self.hashes,
            "seconds": round(self.seconds, 3),
        }


def check(task: Task) -> None:
    """See that the table has the columns that a task needs, before anything is embedded.

    Raises:
        ValueError: says which is missing and what to do.
    """
    has = task.bench.columns
    lacking = [name for name in task.card.data.needs if name not in has]
    if lacking:
        raise ValueError(
            f"task {task.card.name!r} needs the column {lacking[0]!r}; the table has {', '.join(has)}. Add it to the "
            "table, or name the right one: labels by --classify COLUMN, others in a card of your own (docs/evaluation.md)"
        )


def measure_all(tasks: Sequence[Task], *, told: Callable[[str, int, int], None] | None = None) -> list[Done]:
    """Measure tasks one after the other. One that fails is noted, and the others go on.

    Args:
        tasks: of one model; those on one table share a bench.
        told: called with (name, tasks done, tasks in all) before each.

    Raises:
        ValueError: if a table lacks a column that a task needs; nothing is measured then.
    """
    for task in tasks:
        check(task)
    models = {id(task.bench.model): task.bench.model for task in tasks}
    hashes = {key: hash_of_model(model) for key, model in models.items()}
    done = []
    for place, task in enumerate(tasks):
        if told:
            told(task.card.name, place, len(tasks))
        began = time.perf_counter()
        try:
            one = _measured(task, hashes[id(task.bench.model)])
        except (ValueError, ImportError) as error:
            one = Done(task, error=str(error))
        done.append(replace(one, seconds=time.perf_counter() - began))
    return done


def _measured(task: Task, model: str) -> Done:
    """One task, on the model of that hash."""
    card, bench = task.card, task.bench
    bench.asked.clear()
    options = card.arguments()
    measured = card.measure()(bench, **options)
    _check(card, bench, measured)
    about = {"protocol": card.protocol, "options": plain(options), "split": task.split}
    hashes = {"data": bench.sha256, "model": model, "prompts": hash_of_texts(bench.asked), "card": hash_of_plain(about)}
    metric, label = card.metric, str(options.get("label", "label"))
    sliced = {}
    if metric in measured.of:
        sliced = slices_of(bench, measured.items[metric].double(), measured.of[metric], label=label)
    return Done(task, measured, "", _intervals(bench, measured), sliced, hashes)


def _intervals(bench: Bench, measured: Measured) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, values in measured.items.items():
        if name in measured.numbers:
            groups = bench.pairs.keys.owner if measured.of.get(name) == "text" else None
            found |= intervals({name: values}, groups)
    return found


def _check(card: Card, bench: Bench, measured: Measured) -> None:
    """See that a protocol keeps its word, so that no interval or slice is of other rows than it says."""
    if card.metric not in measured.numbers:
        raise ValueError(
            f"{card.file}: field 'metric' is {card.metric!r}, which protocol {card.protocol!r} does not measure; it "
            f"measures {', '.join(measured.numbers)}"
        )
    for name, values in measured.items.items():
        kind = measured.of.get(name)
        rows = {"image": len(bench), "text": len(bench.pairs.keys.owner), None: len(values)}[kind]
        if len(values) != rows:
            raise ValueError(
                f"protocol {card.protocol!r}: {name!r} has {len(values)} items of {kind}; there are {rows}"
            )
        if name in measured.numbers:
            mean = float(values.double().nanmean())
            number = measured.numbers[name]
            if not math.isclose(mean, number, rel_tol=1e-5, abs_tol=1e-6) and not (
                math.isnan(mean) and math.isnan(number)
            ):
                raise ValueError(
                    f"protocol {card.protocol!r}: the items of {name!r} have the mean {mean}, and the number is {number}"
                )


def plain(value: Any) -> Any:
    """Options as `json.dumps` takes them."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray | torch.Tensor):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
