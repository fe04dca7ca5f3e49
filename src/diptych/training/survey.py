"""Surveys: what is learned of every row between epochs, as columns that samplers and objectives read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from diptych.core.model import Model
from diptych.core.objective import Objective
from diptych.core.teacher import Teacher
from diptych.data.pairs import Pairs


@dataclass(frozen=True)
class Asked:
    """What a survey is given.

    Attributes:
        model: as it is now, in eval mode, on its device.
        objective: of the phase.
        pairs: the training rows.
        batch_size: of the phase.
        seed: of this survey.
        autocast: a context for the towers' forward.
        teacher: of the phase, if it has one.
    """

    model: Model
    objective: Objective
    pairs: Pairs
    batch_size: int
    seed: int
    autocast: Callable[[], AbstractContextManager]
    teacher: Teacher | None = None


class Survey(Protocol):
    """Run at the start of every `every`-th epoch of a phase, its first included; what it says is kept with the run.

    Frozen dataclasses: their fields are their configuration.
    """

    every: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what it gives."""
        ...

    def __call__(self, asked: Asked) -> dict[str, np.ndarray]:
        """Column -> `[rows, ...]`, numbers; one row for every row of `asked.pairs`."""
        ...
