"""A record: what was measured of a paper's claim, with every value, as a JSON file; and its table in Markdown."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

from diptych.experiments.verdict import VERDICTS


@dataclass
class Record:
    """What was measured.

    Attributes:
        name, system, claim, here, data, figure, higher, within: of the reproduction.
        method, baseline: which arms were compared.
        seeds: in order.
        arms: arm -> figure -> a value for each seed.
        difference: the method's figure less the baseline's, mean over seeds.
        interval: of that difference, 95% by Student's t over the paired seeds.
        verdict: "holds", "does not hold here" or "inconclusive".
        commit: what was run: the revision of the folder's repository, with a plus where files differed from it;
            several where arms were measured at several.
        date: of the last measurement, UTC.
        seconds: that measuring took, all arms and seeds together; trainings that were kept from earlier take none.
    """

    name: str
    system: int | None
    claim: str
    here: str
    data: str
    figure: str
    method: str
    baseline: str
    higher: bool = True
    within: float = 0.0
    seeds: list[int] = field(default_factory=list)
    arms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    difference: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    verdict: str = ""
    commit: str = ""
    date: str = ""
    seconds: float = 0.0

    def of(self, arm: str) -> list[float]:
        """The compared figure of an arm, a value for each seed."""
        return self.arms[arm][self.figure]

    def apart(self) -> str:
        """The difference and its interval, as text."""
        low, high = self.interval
        return f"{shown(self.difference, sign=True)} ({shown(low, sign=True)} to {shown(high, sign=True)})"

    def write(self, file: Path) -> None:
        """Write it as JSON; a crash leaves the old file or the new one."""
        temporary = file.with_name(f".{file.name}.writing")
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, file)


def read_record(file: Path) -> Record:
    """A record that was written.

    Raises:
        ValueError: if the file is no record; it names the file and the field.
    """
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no record of a reproduction: {error}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{file} is no record of a reproduction: {type(said).__name__} where an object is expected")
    fields = {one.name: one for one in dataclasses.fields(Record)}
    if unknown := sorted(said.keys() - fields.keys()):
        raise ValueError(f"{file} has the field {unknown[0]!r}, which no record has")
    if missing := [name for name in fields if name not in said]:
        raise ValueError(f"{file} lacks the field {missing[0]!r}; measure it again by `diptych reproduce {file.stem}`")
    record = Record(**{**said, "interval": tuple(said["interval"])})
    for arm in (record.method, record.baseline):
        if len(record.arms.get(arm, {}).get(record.figure, ())) != len(record.seeds):
            raise ValueError(f"{file}: arm {arm!r} has not one {record.figure!r} for each of {len(record.seeds)} seeds")
    if record.verdict not in VERDICTS:
        raise ValueError(f"{file}: the verdict {record.verdict!r} is none of {', '.join(VERDICTS)}")
    return record


def read_records(folder: Path) -> list[Record]:
    """All records of a folder, by name; none where there is no such folder.

    Raises:
        ValueError: as `read_record`.
    """
    return [read_record(file) for file in sorted(folder.glob("*.json"))]


def table(record: Record) -> str:
    """The record in Markdown: a line an arm, mean and standard deviation of each figure over the seeds."""
    figures = list(record.arms[record.method])
    lines = [
        f"## {record.name}: {record.verdict}",
        f"{record.figure}: {record.method} less {record.baseline} is {record.apart()}, 95%, {len(record.seeds)} seeds",
        "",
        f"| arm | {' | '.join(figures)} |",
        f"| --- |{' --- |' * len(figures)}",
    ]
    for name, measured in record.arms.items():
        cells = [spread(measured[figure]) if figure in measured else "" for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, as text."""
    return f"{mean(values):.4g} ± {stdev(values):.2g}"


def shown(value: float, *, sign: bool = False) -> str:
    """A number with 4 digits: decimals of shares, fewer of large numbers."""
    digits = ".4f" if abs(value) < 10 else ".4g"
    return f"{value:{'+' if sign else ''}{digits}}"
