"""Intervals below each other on one scale, with a line at zero: which differences leave it out is seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class IntervalPlot:
    """Intervals to be drawn.

    Attributes:
        title: what they are intervals of.
        unit: what the scale counts.
        rows: (name, lower end, middle, upper end), all finite.
    """

    title: str
    unit: str
    rows: Sequence[tuple[str, float, float, float]]

    width = 720
    left = 20
    right = 20
    row_height = 44
    bottom = 42

    @property
    def height(self) -> int:
        """Of the canvas, in its units."""
        return self.row_height * len(self.rows) + self.bottom

    @property
    def span(self) -> tuple[float, float]:
        """What the scale shows: all intervals and zero, with a little room."""
        low = min(0.0, *(row[1] for row in self.rows))
        high = max(0.0, *(row[3] for row in self.rows))
        room = 0.04 * (high - low) or 1.0
        return low - room, high + room

    def across(self, value: float) -> float:
        """Where a value lies on the canvas, from the left."""
        low, high = self.span
        return round(self.left + (value - low) / (high - low) * (self.width - self.left - self.right), 1)
