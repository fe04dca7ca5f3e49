"""The guard against steps that would spoil a run: a loss that is no number, or that leaps.

Such a step is skipped, logged, and the learning rate is halved for a while; after several in a row the run stops
with a message, its last good state on disk. A leap is a loss beyond the median of the last losses by `spike`
times their spread (1.4826 x the median absolute deviation, at least a tenth of the median).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

WINDOW = 100
"""Losses that a leap is judged by."""
SETTLED = 20
"""Losses needed before any is called a leap."""
RECOVERY = 1.05
"""By how much the learning rate grows back with every good step."""


class Diverged(FloatingPointError):
    """Too many steps in a row had to be skipped."""


@dataclass
class Guard:
    """What it remembers; saved with the run's state.

    Attributes:
        spike: how many spreads above the median a loss may be; 0 lets any finite loss pass.
        most: this many skipped steps in a row stop the run.
        losses: the last good ones.
        in_a_row: steps skipped since the last good one.
        skipped: steps skipped in all.
        factor: on the learning rate, 1 or less.
    """

    spike: float = 20.0
    most: int = 5
    losses: list[float] = field(default_factory=list)
    in_a_row: int = 0
    skipped: int = 0
    factor: float = 1.0

    def reason_to_skip(self, loss: float, norm: float) -> str | None:
        """Why the step of this loss and gradient norm should not be taken; None if it should.

        Raises:
            Diverged: if it is one too many.
        """
        reason = self._reason(loss, norm)
        if reason is None:
            self.losses = [*self.losses[-(WINDOW - 1) :], loss]
            self.in_a_row, self.factor = 0, min(1.0, self.factor * RECOVERY)
            return None
        self.in_a_row, self.skipped, self.factor = self.in_a_row + 1, self.skipped + 1, self.factor / 2
        if self.in_a_row >= self.most:
            raise Diverged(f"{self.in_a_row} steps in a row were skipped, the last because {reason}")
        return reason

    def forget(self) -> None:
        """Losses from here on may be of another height: a new phase, another objective, harder batches."""
        self.losses = []

    def _reason(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if self.spike and len(self.losses) >= SETTLED:
            middle = median(self.losses)
            spread = max(1.4826 * median(abs(x - middle) for x in self.losses), 0.1 * abs(middle))
            if loss > middle + self.spike * spread:
                return f"the loss leapt to {loss:.4g} from about {middle:.4g}"
        return None

    def state(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)
