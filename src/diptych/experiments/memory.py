"""The most memory that a part of a process held, where the system can tell."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """Within it, a function that tells the most MiB held since: of the GPU where there is one, else of the process.

    Of the process it is all that is resident, the libraries too, and needs Linux; None elsewhere.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield lambda: torch.cuda.max_memory_allocated() / 2**20
        return
    try:
        _give_back_freed()
        _RESET.write_text("5")  # the high-water mark starts again
    except OSError:
        yield lambda: None
        return
    yield _high_water


def _high_water() -> float | None:
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    return int(found[1]) / 1024 if found else None


def _give_back_freed() -> None:
    """Let glibc return what earlier runs freed, so that it is not counted as held by the next."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
