"""How long every recipe of a comparison trains: steps, pairs, epochs, or seconds; and a recipe cut to that length.

    "300 steps"   optimizer steps
    "50000 pairs" images seen with a text each: steps times batch
    "5 epochs"    passes over the training rows
    "2min", "90s" seconds of training by the clock, data included; reading the table, measuring and saving are not

The learning rate falls to 0 over the whole length, so it must be known before the first step. For seconds it is: a few
steps of every recipe are timed (`diptych.experiments.speed`), which gives the steps that fit. That is how the budget is
spent to within the machine's mood, and the report says how many steps these were and what they took. Another machine
would give other steps: for numbers that can be repeated, give steps, pairs or epochs.

A recipe of several phases shares the budget out as its own schedule does: one of 10 epochs on texts and 1 on pairs
spends a tenth of it, or so, on the latter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from diptych.training.recipe import Phase, Recipe
from diptych.training.sampler import Epoch, Sampler

Unit = Literal["steps", "pairs", "epochs", "seconds"]
_UNITS: dict[str, tuple[Unit, float]] = {
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("pair", "pairs"), ("pairs", 1.0)),
    **dict.fromkeys(("epoch", "epochs"), ("epochs", 1.0)),
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
}
HOW = "give '300 steps', '50000 pairs', '5 epochs', '90s' or '2min'"


@dataclass(frozen=True)
class Budget:
    """How long to train, the same for all recipes.

    Attributes:
        amount: above 0; whole for steps and pairs.
        unit: of `amount`.
    """

    amount: float
    unit: Unit

    @staticmethod
    def parse(text: str) -> Budget:
        """Read a budget as a person writes it.

        Raises:
            ValueError: if it has no unit, an unknown one, or an amount that is not above 0 or should be whole.

        Example:
            >>> Budget.parse("2min"), str(Budget.parse("50_000 pairs"))
            (Budget(amount=120.0, unit='seconds'), '50,000 pairs')
        """
        found = re.fullmatch(r"\s*(\d[\d_,]*(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
        if found is None:
            raise ValueError(f"--budget {text!r} is no amount with a unit: {HOW}")
        number, word = float(found[1].replace(",", "").replace("_", "")), found[2].lower()
        if word not in _UNITS:
            what = f"the unit {word!r} is not known" if word else "steps, pairs, epochs or seconds?"
            raise ValueError(f"--budget {text!r}: {what}; {HOW}")
        unit, times = _UNITS[word]
        if number <= 0:
            raise ValueError(f"--budget {text!r} is nothing; {HOW}")
        if unit in ("steps", "pairs") and number != int(number):
            raise ValueError(f"--budget {text!r}: {unit} are whole; {HOW}")
        return Budget(number * times, unit)

    def __str__(self) -> str:
        return f"{self.amount:,.10g} {self.unit if self.amount != 1 else self.unit[:-1]}"


@dataclass(frozen=True)
class Cut:
    """A sampler that ends after some batches of all its epochs together; what it gives until then is unchanged.

    Attributes:
        sampler: whose batches.
        steps: batches in all, at least 1.
    """

    sampler: Sampler
    steps: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the sampler."""
        return self.sampler.columns

    def count(self, rows: int, batch_size: int, *, number: int, of: int) -> int:
        """As many as the sampler's, until the steps are used up."""
        before = sum(self.sampler.count(rows, batch_size, number=epoch, of=of) for epoch in range(number))
        own = self.sampler.count(rows, batch_size, number=number, of=of)
        return min(own, max(self.steps - before, 0))

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        batches = self.sampler(epoch, batch_size)
        return batches[: self.count(epoch.rows, batch_size, number=epoch.number, of=epoch.of)]


def steps_of(recipe: Recipe, budget: Budget, rows: int, seconds_a_step: Sequence[float] = ()) -> list[int]:
    """The steps of each phase within a budget.

    Args:
        recipe: its own schedule says how its phases share the budget.
        budget: of all phases together.
        rows: of the training table.
        seconds_a_step: of each phase, as measured; for a budget of seconds.

    Returns:
        At least 1 each.
    """
    own = [_counts(phase, rows) for phase in recipe.phases]
    lengths = [sum(counts) for counts in own]
    steps = []
    for i, (counts, length) in enumerate(zip(own, lengths, strict=True)):
        amount = budget.amount * length / sum(lengths)
        an_epoch = length / len(counts)
        if budget.unit == "pairs":
            amount *= an_epoch / rows
        elif budget.unit == "epochs":
            amount *= an_epoch
        elif budget.unit == "seconds":
            amount /= seconds_a_step[i]
        steps.append(max(1, round(amount)))
    return steps


def cut_to(recipe: Recipe, steps: Sequence[int], rows: int) -> Recipe:
    """The recipe with phases of exactly so many steps; the learning rate falls to 0 at the last of them."""
    phases = [_cut(phase, length, rows) for phase, length in zip(recipe.phases, steps, strict=True)]
    return replace(recipe, phases=phases)


def _cut(phase: Phase, steps: int, rows: int) -> Phase:
    epochs = 1
    while sum(_counts(phase, rows, epochs)) < steps:
        epochs += 1
    return replace(phase, schedule=replace(phase.schedule, epochs=epochs), sampler=Cut(phase.sampler, steps))


def _counts(phase: Phase, rows: int, epochs: int | None = None) -> list[int]:
    """The batches of every epoch."""
    size, epochs = phase.schedule.batch_size, epochs or phase.schedule.epochs
    return [phase.sampler.count(rows, size, number=epoch, of=epochs) for epoch in range(epochs)]
