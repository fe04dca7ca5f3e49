"""What every benchmark shares: rounds that take turns, peak memory, the table and the JSON."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Figure:
    """One measured number beside the peer's.

    Attributes:
        name: what was measured, with its unit.
        ours, peer: the two numbers.
        ratio: the one that the bar speaks of: ours over peer, or peer over ours for what should be small.
        bar: e.g. ">= 2.5"; None where there is none.
        met: whether `ratio` keeps to the bar; None where there is none.
    """

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    bar: str | None = None
    met: bool | None = None


def figure(name: str, ours: float, peer: float | None, *, bar: str | None = None, value: float | None = None) -> Figure:
    """A figure whose ratio is ours over peer, or `value` where the bar speaks of something else.

    Example:
        >>> figure("pairs/s", 30.0, 10.0, bar=">= 2.5").met
        True
    """
    ratio = value if value is not None else (ours / peer if peer else None)
    met = None
    if bar is not None:
        sign, _, limit = bar.partition(" ")
        assert ratio is not None and sign in ("<=", ">=", "<", ">"), bar
        limits = {"<=": ratio <= float(limit), ">=": ratio >= float(limit), "<": ratio < float(limit)}
        met = limits.get(sign, ratio > float(limit))
    return Figure(name, ours, peer, ratio, bar, met)


def in_turns(
    contestants: Mapping[str, Callable[[], Any]], *, rounds: int = 7, warmup: int = 1, seconds: float = 480
) -> dict[str, list[float]]:
    """Seconds of every round of every contestant, a round of each after the other.

    Args:
        contestants: name -> what to time.
        rounds: of each, after `warmup` untimed ones.
        seconds: no further round begins after this time, but 3 are always run; a note says how many there were.
    """
    took: dict[str, list[float]] = {name: [] for name in contestants}
    began = time.perf_counter()
    for turn in range(warmup + rounds):
        if turn >= warmup + 3 and time.perf_counter() - began > seconds:
            print(f"stopped after {turn - warmup} rounds: {seconds:.0f} s are over")
            break
        for name, run in contestants.items():
            gc.collect()
            start = time.perf_counter()
            run()
            if turn >= warmup:
                took[name].append(time.perf_counter() - start)
    return took


def medians(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: median(seconds) for name, seconds in took.items()}


def peak_memory(run: Callable[[], Any]) -> int:
    """Bytes that the process held at most while `run` ran, beyond what it held before (Linux)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    run()
    return max(_held("VmHWM") - before, 0)


def return_freed_memory() -> None:
    """From now on the C library gives large blocks back when they are freed: peaks hold no fragments of its heap.

    By default glibc raises its threshold for separate blocks as they are freed and keeps what follows in its heap,
    where small tensors that live on between large ones leave holes, differently in each run. Slower: do it last.
    """
    ctypes.CDLL("libc.so.6").mallopt(-3, 65536)  # M_MMAP_THRESHOLD, which then no longer moves


def _held(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def arguments(about: str, **defaults: int | float | str | bool) -> argparse.Namespace:
    """`--json PATH`, and a flag for every default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    for name, value in defaults.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
    return parser.parse_args()


def finish(figures: Sequence[Figure], ratio: float, path: Path | None, packages: Sequence[str] = ()) -> None:
    """Print the figures and write them."""
    width = max(len(one.name) for one in figures)
    print(f"{'':<{width}}  {'ours':>10}  {'peer':>10}  {'ratio':>7}  bar")
    for one in figures:
        shown = [f"{x:.4g}" if x is not None else "" for x in (one.ours, one.peer, one.ratio)]
        verdict = "" if one.bar is None else f"{one.bar} {'met' if one.met else 'MISSED'}"
        print(f"{one.name:<{width}}  {shown[0]:>10}  {shown[1]:>10}  {shown[2]:>7}  {verdict}")
    content = {
        "ratio": ratio,
        "figures": [asdict(one) for one in figures],
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version(), **_versions(["diptych", "torch", *packages])},
    }
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(f"figures: {path}")


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", file.read_text()) if file.exists() else None
    return found[1] if found else platform.processor()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    out = {}
    for name in packages:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "missing"
    return out
