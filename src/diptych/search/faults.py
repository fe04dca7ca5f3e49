"""What can go wrong beneath the engine, told as a Python program expects it."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diptych.search.errors import IndexInUse

# The engine writes through mapped memory: a full disk would kill the process (SIGBUS) where a
# plain write would raise. So room is asked for beforehand, with some to spare for its own files.
SPARE = 64 * 2**20


def require_room(folder: Path, size: int) -> None:
    """Raise before the disk is full, since the engine could not.

    Args:
        folder: exists, on the disk that is written.
        size: bytes about to be written.

    Raises:
        OSError: with `errno.ENOSPC`, if there is less than that and 64 MiB to spare.
    """
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        needed = (size + SPARE) / 2**20
        message = f"no space left: {needed:.0f} MiB needed, {free / 2**20:.0f} MiB free"
        raise OSError(errno.ENOSPC, message, str(folder))


@contextmanager
def engine_errors(folder: Path) -> Iterator[None]:
    """Raise what the system said as `OSError`, and a log held elsewhere as `IndexInUse`.

    The engine raises bare `Exception`s whose text ends in the system's error number.
    """
    try:
        yield
    except Exception as error:
        text = str(error)
        if "WouldBlock" in text:
            raise IndexInUse(f"{folder.parent} takes writes and is open elsewhere: close it there first") from error
        found = re.search(r"\(os error (\d+)\)", text)
        # A file missing inside a shard is damage to the shard, not a wrong path of the user's.
        if found and type(error) is Exception and "No such file" not in text:
            code = int(found[1])
            raise OSError(code, f"{os.strerror(code)}: {text}", str(folder)) from error
        raise
