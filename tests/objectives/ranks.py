"""Steps of every objective in two processes that share the rows of its example unevenly, started once for all of them.

Each case has a process group of its own, so that one process's error ends that case alone, for both.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import cases
import replay
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from diptych.core import Example, Objective

SPLITS: dict[str, dict[str, int]] = {
    "by item": {},
    "every third row": {"micro": 2, "rows": 3},
    "all and none": {},
    "none and all": {"micro": 2, "rows": 3},
}
"""Who has which rows, and how the step cuts them further."""

Results = dict[tuple[str, str], list["replay.Outcome | str"]]


def share(example: Example, split: str, rank: int) -> dict[str, Tensor]:
    """The rows of each view that the process `rank` has."""
    items = torch.cat(list(example.items.values())).unique()
    first = items[: 1 + 2 * len(items) // 3]
    shares = {}
    for view, own in example.items.items():
        place = torch.arange(len(own))
        to_first = {
            "by item": torch.isin(own, first),
            "every third row": place % 3 > 0,
            "all and none": place >= 0,
            "none and all": place < 0,
        }[split]
        shares[view] = place[to_first if rank == 0 else ~to_first]
    return shares


def run(classes: Sequence[type[Objective]], folder: Path) -> Results:
    """What each of two processes came to, by class name and split: an outcome, or the error's words."""
    names = [f"{cls.__module__}:{cls.__name__}" for cls in classes]
    mp.spawn(_process, (str(folder), names), nprocs=2)  # type: ignore[attr-defined]
    both = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    return {key: [said[key] for said in both] for key in both[0]}


def check_processes_change_nothing(cls: type[Objective], split: str, results: Results) -> None:
    """Both processes have the means and the gradients that one graph gives."""
    expected = replay.one_graph(cases.fresh(cls))
    for rank, got in enumerate(results[cls.__name__, split]):
        assert not isinstance(got, str), f"process {rank} failed: {got}"
        replay.assert_same(got, expected, f"process {rank} of 2, rows shared {split!r}")


def _process(rank: int, folder: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    results: dict[tuple[str, str], replay.Outcome | str] = {}
    for number, name in enumerate(names):
        module, _, qualified = name.partition(":")
        cls = getattr(importlib.import_module(module), qualified)
        for split in SPLITS:
            meeting = f"file://{folder}/{number}-{split.replace(' ', '-')}"
            dist.init_process_group("gloo", meeting, timedelta(minutes=5), world_size=2, rank=rank)
            try:
                example = cases.fresh(cls)
                batch = replay.batch_of(example, share(example, split, rank))
                results[cls.__name__, split] = replay.stepped(example, batch, **SPLITS[split])
            except Exception as error:
                results[cls.__name__, split] = f"{type(error).__name__}: {error}"
            finally:
                dist.destroy_process_group()
    torch.save(results, f"{folder}/{rank}.pt")
