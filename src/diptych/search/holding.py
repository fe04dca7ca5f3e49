"""Who holds what of an index: its one writer the whole, every process the shards that it has open.

Locks are the system's (`flock`), so they go with the process, however it ends.
"""

import fcntl
import os
import shutil
from pathlib import Path

from diptych.search.errors import IndexInUse

WRITER = "writer.lock"


def hold_writer(folder: Path) -> int:
    """Be the only writer of the index in `folder` until the handle that comes back is closed.

    Raises:
        IndexInUse: if somebody else is.
        OSError: if the lock cannot be made.
    """
    handle = os.open(folder / WRITER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise IndexInUse(f"{folder} takes writes and is open elsewhere: close it there first") from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def require_no_writer(folder: Path) -> None:
    """Raise if somebody has the index open for writing.

    Raises:
        IndexInUse: then.
    """
    if (folder / WRITER).exists():
        os.close(hold_writer(folder))


def hold_shard(folder: Path) -> int:
    """Keep the shard's folder from being removed until the handle that comes back is closed.

    Raises:
        OSError: if it is being removed, or is not there.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BaseException:
        os.close(handle)
        raise
    return handle


def remove_unheld(folder: Path) -> None:
    """Remove a shard's folder if nobody has it open; else leave it for another time."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(handle)
