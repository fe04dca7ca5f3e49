"""A paper's claim measured: arms with several seeds, the method's figure less the baseline's, a verdict.

    REPRODUCTION = Reproduction(name="filip", system=75, claim=..., here=..., arms={"filip": train_and_measure,
                                "clip": ...}, method="filip", baseline="clip", figure="t2i_recall@1", data=...)

in a file `reproductions/filip.py`, which `diptych reproduce filip` runs. Arms of one seed are to share data, order,
budget and evaluation, so that their difference is the method's. The verdict is of what was measured, mostly small
models on small data: "does not hold here" says nothing of the paper's own setting.

What was measured is kept arm by arm, so an interrupted reproduction goes on, and more seeds are added to those there
are. Where the file that says how to measure has changed since, all is measured anew.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from diptych import __version__
from diptych.experiments.record import Record
from diptych.experiments.verdict import interval, verdict

Figures = Mapping[str, float]
Arm = Callable[[int], Figures]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """What is compared, and by which figure.

    Attributes:
        name: of the method: its recipe's or scorer's file, and this one's.
        system: number in the catalogue of systems, None where it is not in there.
        claim: what the paper says gets better, than what, by which metric.
        here: how it is measured here, and what differs from the paper.
        arms: name -> what measures it with a seed, every figure by name.
        method, baseline: the two arms that the verdict compares.
        figure: by which.
        data: which collection, split and gallery.
        higher: whether more of the figure is better.
        within: if above 0, the claim is "no worse by more than this": the method may lose so much.

    Raises:
        ValueError: if the method or the baseline is no arm, or `within` is below 0.
    """

    name: str
    system: int | None
    claim: str
    here: str
    arms: Mapping[str, Arm]
    method: str
    baseline: str
    figure: str
    data: str
    higher: bool = True
    within: float = 0.0

    def __post_init__(self) -> None:
        for side in ("method", "baseline"):
            if (arm := getattr(self, side)) not in self.arms:
                raise ValueError(f"{self.name}: the {side} {arm!r} is none of the arms {list(self.arms)}")
        if self.method == self.baseline:
            raise ValueError(f"{self.name}: the arm {self.method!r} is compared with itself")
        if self.within < 0:
            raise ValueError(f"{self.name}: within is {self.within}; it is how much may be lost, 0 or more")


@dataclass
class _Measured:
    """An arm's figures with a seed, how long they took, and what revision was run."""

    figures: dict[str, float]
    seconds: float
    commit: str


def reproduce(
    what: Reproduction,
    *,
    kept: Path,
    settings: str = "",
    seeds: int = 3,
    again: bool = False,
    folder: Path | None = None,
    tell: Tell = print,
) -> Record:
    """Measure every arm with every seed, and judge.

    Args:
        what: the arms and the claim.
        kept: file of what was measured so far; written after every arm, read first.
        settings: stands for how it is measured, mostly a hash of the file; what was kept under another is not used.
        seeds: how many, from 0 on; at least 2.
        again: leave aside what was kept.
        folder: whose revision is noted; the version of Diptych where it is in no repository.
        tell: is told what was measured, line by line.

    Raises:
        ValueError: if seeds are too few, or an arm measured not the figure or something that is no number.
    """
    if seeds < 2:
        raise ValueError(f"--seeds is {seeds}; an interval needs at least 2")
    done = {} if again else _read(kept, settings, tell)
    commit = revision(folder)
    for seed in range(seeds):
        for name, arm in what.arms.items():
            key = f"{name}/{seed}"
            if key not in done:
                begun = time.perf_counter()
                figures = _checked(what, key, arm(seed))
                done[key] = _Measured(figures, round(time.perf_counter() - begun, 1), commit)
                _write(kept, settings, done)
            tell(f"{name}, seed {seed}: {what.figure} {done[key].figures[what.figure]:.4f}")
    return _judged(what, done, list(range(seeds)))


def _checked(what: Reproduction, key: str, figures: Figures) -> dict[str, float]:
    """The figures as numbers."""
    values = {name: float(value) for name, value in figures.items()}
    if what.figure not in values:
        raise ValueError(f"{what.name}: {key} measured {list(values)}, and not {what.figure!r}, which is compared")
    if not math.isfinite(values[what.figure]):
        raise ValueError(f"{what.name}: {key} measured {what.figure} as {values[what.figure]}")
    return values


def _judged(what: Reproduction, done: Mapping[str, _Measured], seeds: list[int]) -> Record:
    record = Record(
        what.name, what.system, what.claim, what.here, what.data, what.figure, what.method, what.baseline,
        what.higher, what.within, seeds=seeds, date=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip
    used = {name: [done[f"{name}/{seed}"] for seed in seeds] for name in what.arms}
    for name, measured in used.items():
        record.arms[name] = {figure: [one.figures[figure] for one in measured] for figure in measured[0].figures}
    pairs = zip(record.of(what.method), record.of(what.baseline), strict=True)
    record.difference, record.interval = interval([a - b for a, b in pairs])
    record.verdict = verdict(record.interval, higher=what.higher, within=what.within)
    every = [one for measured in used.values() for one in measured]
    record.commit = ", ".join(dict.fromkeys(one.commit for one in every))
    record.seconds = round(sum(one.seconds for one in every), 1)
    return record


def _read(kept: Path, settings: str, tell: Tell) -> dict[str, _Measured]:
    """What was measured under these settings; nothing where there are other ones."""
    if not kept.exists():
        return {}
    said = json.loads(kept.read_text(encoding="utf-8"))
    if said.get("settings") != settings:
        tell("what was measured earlier was measured in another way: all is measured anew")
        return {}
    done = {key: _Measured(**one) for key, one in said["measured"].items()}
    tell(f"{len(done)} measurements are kept from earlier; --again leaves them aside")
    return done


def _write(kept: Path, settings: str, done: Mapping[str, _Measured]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f".{kept.name}.writing")
    said = {"settings": settings, "measured": {key: asdict(one) for key, one in done.items()}}
    temporary.write_text(json.dumps(said, indent=1), encoding="utf-8")
    os.replace(temporary, kept)


def revision(folder: Path | None) -> str:
    """The revision that a folder's repository is at, with a plus where files differ from it; else Diptych's version."""
    if folder is not None:
        asked = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
        try:
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        except FileNotFoundError:
            said = ""
        if said:
            return said
    return f"diptych {__version__}"
