"""XBT without its step on texts: the projection learns where the old model puts both halves of some pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diptych.models import Towers
from diptych.objectives import FeatureDistillation
from diptych.recipes.compatible import xbt
from diptych.training.recipe import Recipe, Schedule


def recipe(
    towers: Towers = Towers(),  # noqa: B008 (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008
    *,
    teacher: Path,
    new: Path,
    map_hidden: int = 512,
) -> Recipe:
    """One step on pairs, which asks the old model for their vectors.

    Args:
        towers: not used.
        schedule: how long and how fast.
        teacher: run of the old model.
        new: run of the new model.
        map_hidden: width of the projection's MLP.
    """
    built = xbt.recipe(towers, schedule, teacher=teacher, new=new, map_hidden=map_hidden, pair_epochs=0)
    both = FeatureDistillation("image", projection="compatible.projection") + FeatureDistillation(
        "text", projection="compatible.projection"
    )
    return Recipe(built.model, [replace(built.phases[0], objective=both)], built.scorer)
