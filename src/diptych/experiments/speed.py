"""How long a step of each phase of a recipe takes here, so that a budget of seconds can be told in steps."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from diptych.data.pairs import Pairs
from diptych.experiments.budget import cut_to
from diptych.training.fit import fit
from diptych.training.recipe import Recipe
from diptych.training.running import Running

UNTIMED = 3
"""First steps of each phase, in which memory is allocated and kernels are chosen."""
TIMED = 10


def seconds_a_step(recipe: Recipe, pairs: Pairs, *, running: Running | None = None) -> list[float]:
    """The median seconds of a step of each phase, by the clock, its data included.

    Args:
        recipe: its model is trained a few steps and is of no use afterwards.
        pairs: the training rows.
        running: as the real training will run.
    """
    each = UNTIMED + TIMED
    clock: list[float] = []
    with TemporaryDirectory() as folder:
        short = cut_to(recipe, [each] * len(recipe.phases), len(pairs))
        fit(short, pairs, Path(folder), running=running, progress=lambda _: clock.append(time.perf_counter()))
    phases = [clock[start : start + each] for start in range(0, len(clock), each)]
    return [median(later - earlier for earlier, later in pairwise(times[UNTIMED - 1 :])) for times in phases]
