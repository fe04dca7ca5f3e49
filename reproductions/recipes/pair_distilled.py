"""DCD without what is its own: a dual encoder takes over the cross-encoder's ranking of all that it scored, alike."""

from __future__ import annotations

from pathlib import Path

from diptych.models import Towers, dual_encoder
from diptych.objectives import InfoNCE, PairDistillation
from diptych.scoring import Dot
from diptych.training.recipe import Phase, Recipe, Schedule
from diptych.training.teachers import Matcher, share_processors


def recipe(
    towers: Towers = Towers(),  # noqa: B008 (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008
    *,
    teacher: Path,
    others: int = 15,
    temperature: float = 0.07,
) -> Recipe:
    """InfoNCE, and the divergence from the teacher over the pairs it scored.

    Args:
        towers: of the student.
        schedule: how long and how fast.
        teacher: run of the cross-encoder.
        others: negatives of each text that the teacher scores.
        temperature: where the student's learned temperature starts.
    """
    matcher = Matcher.open(teacher, others=others)
    model = dual_encoder(towers, parts={"dot": Dot(1 / temperature)})
    share_processors(model, matcher.model)
    return Recipe(model, [Phase(InfoNCE() + PairDistillation(), schedule, teacher=matcher)])
