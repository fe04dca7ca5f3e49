"""How a run is kept going: reproducibility, and what to do when memory runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Running:
    """How a run is kept going; nothing of it changes what is learned, but `deterministic` to the last digit.

    Attributes:
        save_minutes: minutes between saves of the state.
        keep_states: how many of the last states are kept.
        spike: a loss this many spreads above the last hundred is skipped; 0 skips only what is no number.
        max_skips: this many skipped steps in a row stop the run.
        deterministic: use only operations that give the same digits every time; slower on GPUs.
        compile: compile the towers; pays off in long runs on GPUs.
        shard: shard the towers' parameters over the processes, for towers that do not fit one device.
        tensorboard: also write TensorBoard events.
    """

    save_minutes: float = 5.0
    keep_states: int = 2
    spike: float = 20.0
    max_skips: int = 5
    deterministic: bool = False
    compile: bool = False
    shard: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.keep_states < 1:
            raise ValueError(f"--keep-states is {self.keep_states}; it must be at least 1")
        if self.max_skips < 1:
            raise ValueError(f"--max-skips is {self.max_skips}; it must be at least 1")
        if self.spike < 0:
            raise ValueError(f"--spike is {self.spike}; it must be 0 (off) or more")


@contextmanager
def memory_advice(encoded_at_once: int) -> Iterator[None]:
    """Within it, running out of memory names the flags that help.

    Raises:
        MemoryError: in the place of whatever the device says.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or ["no memory"])[0][:120]
        raise MemoryError(
            f"memory ran out in a step ({first}): give --micro {max(1, encoded_at_once // 2)}, which encodes so many "
            "rows at a time and learns the same; then --rows for the objective; then a smaller --batch-size or "
            "--image-size"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Within it, if wanted, operations without a reproducible form are refused."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
