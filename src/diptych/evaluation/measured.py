"""What a protocol hands back: numbers beside chance, a value of every query behind them, and what to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

Of = Literal["image", "text"]


@dataclass(frozen=True)
class Curve:
    """Points (x, y) in ascending x, and what x counts."""

    points: Sequence[tuple[float, float]]
    x_label: str


@dataclass(frozen=True)
class Found:
    """One answer that an example shows.

    Attributes:
        score: of it; higher is nearer.
        right: whether it is a right one.
        image: the row of `bench.table` whose picture is shown; None for none.
        text: its words.
    """

    score: float
    right: bool
    image: int | None = None
    text: str | None = None


@dataclass(frozen=True)
class Shown:
    """A query that is worth a look, and what was found.

    Attributes:
        found: best first.
        text: the query's words, if it has any.
        image: the query's row of `bench.table`, if it is a picture.
        rank: of its best right answer, 1-based; 0 if there is none; None if unknown.
    """

    found: Sequence[Found]
    text: str | None = None
    image: int | None = None
    rank: int | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What one protocol measured.

    Attributes:
        numbers: name -> value; shares are 0 to 1.
        chance: name of a number -> what guessing would get of it, where that is known.
        items: name -> `[Q]`, a value of every query or image; NaN (of float) where there is nothing to measure.
            Items under the name of a number are those whose mean, NaN left out, is the number (see `strata`): it is
            given an interval by drawing them again, and told apart by slices.
        of: name of items -> whose they are: "image", a line a row of `bench.table`, or "text", a line a text of
            `bench.captions`. Items that are named here are told apart by slices (label, caption length); those of
            anything else are left out here.
        strata: name of items -> `[Q]` int64, classes or kinds of items, -1 for none: the number is the mean over strata
            of the mean of each (mean per class), not that of all items.
        clusters: name of items -> `[Q]` int64 from 0: items that are drawn together (texts of one image); where none
            are named, texts of one image if they are of "text", else each on its own.
        curves: name -> what to draw.
        shown: examples, the best and the worst.
        notes: sentences that a reader of the numbers should know: what was left out, and how many.
    """

    numbers: dict[str, float]
    chance: dict[str, float] = field(default_factory=dict)
    items: dict[str, Tensor] = field(default_factory=dict)
    of: Mapping[str, Of] = field(default_factory=dict)
    strata: Mapping[str, Tensor] = field(default_factory=dict)
    clusters: Mapping[str, Tensor] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    shown: Sequence[Shown] = ()
    notes: Sequence[str] = ()
