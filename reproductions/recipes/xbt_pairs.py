"""XBT's second step by itself, for pairs of another table than its texts; it goes on from their run, by `--init`."""

from __future__ import annotations

from pathlib import Path

from diptych.models import Towers
from diptych.recipes.compatible import xbt
from diptych.training.recipe import Recipe, Schedule


def recipe(
    towers: Towers = Towers(),  # noqa: B008 (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008
    *,
    teacher: Path,
    new: Path,
    map_hidden: int = 512,
    pair_lr_scale: float = 0.1,
) -> Recipe:
    """The step on pairs, as long as the schedule says.

    Args:
        towers: not used.
        schedule: how long.
        teacher: run of the old model.
        new: run of the new model.
        map_hidden: width of the projection's MLP.
        pair_lr_scale: times the schedule's learning rate.
    """
    built = xbt.recipe(
        towers,
        schedule,
        teacher=teacher,
        new=new,
        map_hidden=map_hidden,
        pair_epochs=schedule.epochs,
        pair_lr_scale=pair_lr_scale,
    )
    return Recipe(built.model, built.phases[1:], built.scorer)
