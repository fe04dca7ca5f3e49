"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_memory() -> None:
    """Let the C library return what lies freed between blocks in use; for work that goes on for hours.

    glibc keeps freed blocks of its heap. Where small tensors live on between large ones that come and go, the holes do
    not fit what comes next and the process grows by megabytes a minute. Elsewhere than with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
