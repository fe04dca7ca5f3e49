"""Surveys run between epochs; what they say is kept with the run, so that going on in mid-epoch reads the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from diptych.core.model import Model
from diptych.data.replacing import absolute, replacement
from diptych.training.plan import Plan
from diptych.training.processes import from_first
from diptych.training.survey import Asked


def surveyed_columns(
    plan: Plan, model: Model, out: Path, epoch: int, autocast: Callable[[], AbstractContextManager]
) -> dict[str, np.ndarray]:
    """The columns of all surveys of a phase, as they stand in an epoch: run now where due, else read.

    Raises:
        ValueError: if a survey gives other columns than it announced, or not a number for every row.
    """
    columns: dict[str, np.ndarray] = {}
    for i, survey in enumerate(plan.phase.surveys):
        due = epoch - epoch % survey.every
        file = out / "surveys" / f"phase-{plan.number}-survey-{i}-epoch-{due}" / "columns.safetensors"
        if not from_first(file.exists):
            schedule = plan.phase.schedule
            asked = Asked(
                model,
                plan.phase.objective,
                plan.pairs,
                schedule.batch_size,
                plan.seed + due,
                autocast,
                plan.phase.teacher,
            )
            said = survey(asked)  # on every process: sharded towers need all of them
            _check(type(survey).__name__, survey.columns, said, len(plan.pairs))
            from_first(lambda file=file, said=said: _keep(file, said))
        columns |= from_first(lambda file=file: load_file(file))
    return columns


def _keep(file: Path, columns: dict[str, np.ndarray]) -> None:
    with replacement(absolute(file.parent)) as folder:
        save_file({name: np.ascontiguousarray(values) for name, values in columns.items()}, folder / file.name)


def _check(survey: str, announced: tuple[str, ...], columns: dict[str, np.ndarray], rows: int) -> None:
    if set(columns) != set(announced):
        raise ValueError(f"{survey} announced the columns {sorted(announced)} and gave {sorted(columns)}")
    for name, values in columns.items():
        if len(values) != rows or values.dtype.kind not in "biuf":
            raise ValueError(
                f"{survey} gave {len(values)} values of {values.dtype} as {name!r}; expected {rows} numbers"
            )
