"""The recipe `lexvla` with FLOPS where it has the overuse penalty: the other arm of its reproduction."""

from __future__ import annotations

from pathlib import Path

from diptych.models import Towers
from diptych.objectives import FLOPS, InfoNCE
from diptych.recipes.lexical import lexvla
from diptych.training.recipe import Recipe, Schedule


def recipe(
    towers: Towers = Towers(),  # noqa: B008 (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008
    *,
    words: Path | None = None,
    flops: float = 0.01,
) -> Recipe:
    """As `lexvla`.

    Args:
        towers: which towers.
        schedule: how long and how fast.
        words: file of the words, one a line.
        flops: weight of FLOPS, of each view.
    """
    made = lexvla.recipe(towers, schedule, words=words)
    made.phases[0].objective = InfoNCE(scorer="lexical") + flops * FLOPS("image") + flops * FLOPS("text")
    return made
