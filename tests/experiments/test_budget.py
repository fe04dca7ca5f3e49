"""A budget is read as a person writes it, and a recipe cut to it takes exactly its steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diptych.experiments.budget import Budget, Cut, cut_to, steps_of
from diptych.models import Towers
from diptych.recipes import find_recipe
from diptych.training.recipe import Recipe, Schedule
from diptych.training.sampler import Epoch, Shuffled
from diptych.training.samplers import Curriculum


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("500 steps", 500, "steps"),
        ("1 step", 1, "steps"),
        ("50000 pairs", 50_000, "pairs"),
        ("50,000pairs", 50_000, "pairs"),
        ("5 epochs", 5, "epochs"),
        ("0.5 epochs", 0.5, "epochs"),
        ("90s", 90, "seconds"),
        ("2min", 120, "seconds"),
        (" 1.5 Minutes ", 90, "seconds"),
        ("1h", 3600, "seconds"),
    ],
)
def test_a_budget_is_read(text: str, amount: float, unit: str):
    assert Budget.parse(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("500", "steps, pairs, epochs or seconds"),
        ("5 days", "the unit 'days' is not known"),
        ("", "no amount with a unit"),
        ("-3 steps", "no amount with a unit"),
        ("0 steps", "is nothing"),
        ("1.5 steps", "steps are whole"),
        ("two minutes", "no amount"),
    ],
)
def test_what_is_no_budget_says_what_is(text: str, message: str):
    with pytest.raises(ValueError, match=message) as error:
        Budget.parse(text)
    assert "'300 steps'" in str(error.value)


def recipe(**schedule) -> Recipe:
    towers = Towers(image_size=16, width=8, vocab_size=300)
    return find_recipe("clip").recipe(towers, Schedule(batch_size=10, **schedule))


def test_a_budget_in_steps_of_a_phase():
    # 95 rows in batches of at most 10: 10 steps an epoch.
    assert steps_of(recipe(), Budget(37, "steps"), 95) == [37]
    assert steps_of(recipe(), Budget(2.5, "epochs"), 95) == [25]
    assert steps_of(recipe(), Budget(190, "pairs"), 95) == [20]
    assert steps_of(recipe(), Budget(30, "seconds"), 95, [0.5]) == [60]
    assert steps_of(recipe(), Budget(1, "pairs"), 95) == [1]  # never none


def test_phases_share_it_as_their_schedule_does():
    two = recipe(epochs=9)
    phases = [two.phases[0], replace(two.phases[0], schedule=replace(two.phases[0].schedule, epochs=1))]
    both = Recipe(two.model, phases)
    assert steps_of(both, Budget(200, "steps"), 95) == [180, 20]
    assert steps_of(both, Budget(100, "seconds"), 95, [0.5, 2.0]) == [180, 5]


@pytest.mark.parametrize("steps", [1, 10, 11, 27])
def test_a_cut_recipe_takes_exactly_its_steps_and_the_same_batches(steps: int):
    phase = cut_to(recipe(), [steps], 95).phases[0]
    epochs = phase.schedule.epochs
    counts = [phase.sampler.count(95, 10, number=epoch, of=epochs) for epoch in range(epochs)]
    assert sum(counts) == steps and all(counts)
    for epoch in range(epochs):
        known = Epoch(95, epoch, epochs, (5, 0, epoch))
        ours, whole = phase.sampler(known, 10), Shuffled()(known, 10)
        assert len(ours) == counts[epoch]
        assert all(np.array_equal(a, b) for a, b in zip(ours, whole, strict=False))


def test_a_sampler_whose_epochs_differ_is_cut_too():
    inner = Curriculum("score")
    cut = Cut(inner, 7)
    counts = [cut.count(100, 10, number=epoch, of=4) for epoch in range(4)]
    whole = [inner.count(100, 10, number=epoch, of=4) for epoch in range(4)]
    assert sum(counts) == 7 and counts[0] == whole[0] and cut.columns == ("score",)


def test_cutting_leaves_the_recipe_as_it_was():
    whole = recipe(epochs=3)
    cut_to(whole, [4], 95)
    assert whole.phases[0].schedule.epochs == 3 and whole.phases[0].sampler == Shuffled()
