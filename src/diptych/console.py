"""What the terminal shows: progress with pairs a second and time left, tables of numbers, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from diptych.evaluation.report import Table as ReportTable
    from diptych.training.fit import Progress as StepProgress

console = Console(stderr=True)
out = Console()


class Bars:
    """One bar for each stage that tells how far it is."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._bars = progress, {}
        self._speed = 0.0
        self._began: float | None = None

    def show(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move a stage's bar; the first call draws it."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._bars[name], completed=done, total=total, note=note)

    def images(self, done: int, total: int) -> None:
        """Images decoded."""
        self.show("reading images", done, total)

    def rows(self, view: str, done: int, total: int) -> None:
        """Rows embedded."""
        self.show(f"embedding {view}", done, total)

    def embedded(self, done: int, total: int, items: int) -> None:
        """Rows of a collection embedded, or found to be there; items are images and texts."""
        self._began = self._began or time.perf_counter()
        seconds = max(time.perf_counter() - self._began, 1e-3)
        self.show("embedding", done, total, f"{items / seconds:,.0f} items/s" if items else "")

    def steps(self, told: StepProgress) -> None:
        """Training steps."""
        self._speed = told.pairs_per_second if not self._speed else 0.9 * self._speed + 0.1 * told.pairs_per_second
        self.show("training", told.step, told.steps, f"loss {told.loss:.3f}  {self._speed:,.0f} pairs/s")


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars on the terminal while the block runs."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


def show_table(table: ReportTable) -> None:
    """A report's table on the terminal."""
    from diptych.evaluation.report import shown

    drawn = Table(title=table.title, title_justify="left", caption=table.note or None, caption_justify="left")
    for i, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if i == 0 else "right")
    for row in table.rows:
        drawn.add_row(*(shown(cell) for cell in row))
    out.print(drawn)
