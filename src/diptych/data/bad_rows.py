"""Rows that cannot be used are set aside here, each with where it came from and why.

One unreadable photograph must neither stop a run nor vanish: whoever meets a bad row adds it here
and goes on, and at the end the summary says how many there were and where to read about them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True)
class BadRow:
    """One thing set aside.

    Attributes:
        row: number of the row in its table, from 0; None for what never became a row (a cut archive).
        where: the file, member or row it came from, as one would look it up: "captions.csv, row 17".
        reason: a short stable category, such as "missing file": what `BadRows.by_reason` counts.
        detail: what exactly was found, in a sentence; may be empty.
    """

    row: int | None
    where: str
    reason: str
    detail: str = ""


class BadRows:
    """Collects bad rows, each once, and writes them as JSON lines where a path is given.

    Every line is flushed as it is added, so a run that is killed leaves its report behind.

    Parameters
    ----------
    path
        File to write, one JSON object of the fields of `BadRow` a line, made when the first row is
        added. A file of an earlier run is deleted at once, so that what lies there is always of this
        run. None keeps the rows in memory only.

    Examples
    --------
    >>> bad = BadRows()
    >>> bad.add(3, "captions.csv, row 5", "missing file", "images/3.jpg")
    >>> bad.add(3, "captions.csv, row 5", "missing file", "images/3.jpg")
    >>> len(bad), bad.by_reason(), bad.summary()
    (1, {'missing file': 1}, '1 bad row set aside (1 missing file)')
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._rows: dict[BadRow, None] = {}
        self._stream: TextIO | None = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def add(self, row: int | None, where: str, reason: str, detail: str = "") -> None:
        """Set one row aside; the same row for the same reason a second time changes nothing."""
        self.extend([BadRow(row, where, reason, detail)])

    def extend(self, rows: Iterable[BadRow]) -> None:
        """Set aside all of `rows`, such as those another `BadRows` has collected."""
        for bad in rows:
            if bad not in self._rows:
                self._rows[bad] = None
                self._write(bad)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[BadRow]:
        return iter(tuple(self._rows))

    def by_reason(self) -> dict[str, int]:
        """Reason -> count, the commonest first."""
        return dict(Counter(bad.reason for bad in self._rows).most_common())

    def summary(self) -> str:
        """One line for the end of a report: how many, why, and where to read more."""
        if not self._rows:
            return "no bad rows"
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.by_reason().items())
        place = "" if self.path is None else f": see {self.path}"
        return f"{len(self):,} bad {'row' if len(self) == 1 else 'rows'} set aside ({reasons}){place}"

    def _write(self, bad: BadRow) -> None:
        if self.path is None:
            return
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("w", encoding="utf-8")
        self._stream.write(json.dumps(asdict(bad), ensure_ascii=False) + "\n")
        self._stream.flush()
