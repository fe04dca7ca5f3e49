"""How a folder is replaced as a whole: filled beside its place, renamed into it, and mended after a crash.

Beside `NAME` there may be, all hidden: `.NAME.building`, filled now or left by a process that
died; `.NAME.old`, what was there before, between two renames; `.NAME.lock`, held by whoever
builds, for as long as its process lives. If `NAME` is missing and `.NAME.old` is there, a
process died between the renames, and the old one goes back.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The time between two renames is far below a millisecond; a second allows for a sleepy disk.
PATIENCE_SECONDS = 1.0


class FolderInUse(RuntimeError):
    """Another process, or another object of this one, holds what only one at a time may hold."""


def absolute(folder: str | Path) -> Path:
    """The folder itself, behind `~` and links, since a rename would replace the link."""
    return Path(folder).expanduser().resolve()


def half_built(folder: Path) -> Path:
    """Where the next `folder` is filled."""
    return folder.with_name(f".{folder.name}.building")


def _earlier(folder: Path) -> Path:
    """Where the earlier `folder` lies between the two renames."""
    return folder.with_name(f".{folder.name}.old")


@contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it takes the place of `folder`, else it is removed.

    Args:
        folder: absolute; need not exist. Whether it may be replaced is for the caller to know.

    Yields:
        The folder to fill. All files in it must be closed before the block ends.

    Raises:
        FolderInUse: if another process is building the same folder.
        OSError: if a folder cannot be made or renamed; the earlier one is then in its place.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _builder_lock(folder):
        _put_back(folder)
        shutil.rmtree(_earlier(folder), ignore_errors=True)
        fresh = half_built(folder)
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir()
        try:
            yield fresh
            _swap(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put the earlier `folder` back if a process died between taking it away and putting in the new one.

    Raises:
        FolderInUse: if `folder` is away and a process that lives is building it.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not folder.exists() and _earlier(folder).exists():
        try:
            with _builder_lock(folder):
                _put_back(folder)
        except FolderInUse:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _swap(fresh: Path, folder: Path) -> None:
    """Rename `folder` away, `fresh` into its place, and delete what was there."""
    earlier = _earlier(folder)
    sync_tree(fresh)
    try:
        if folder.exists():
            folder.replace(earlier)
        fresh.replace(folder)
    except BaseException:
        _put_back(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Undo the first of the two renames, if the second did not follow."""
    if not folder.exists() and _earlier(folder).exists():
        _earlier(folder).replace(folder)


@contextmanager
def _builder_lock(folder: Path) -> Iterator[None]:
    """Be the only builder of `folder`; the system lets go if the process dies.

    Raises:
        FolderInUse: if another is.
    """
    path = folder.with_name(f".{folder.name}.lock")
    handle = _open_locked(path)
    # Whoever built before us removed the lock file when done: a lock on a removed file keeps nobody out.
    while handle is not None and not _is_at(handle, path):
        os.close(handle)
        handle = _open_locked(path)
    if handle is None:
        raise FolderInUse(f"{folder} is being built by another process; wait until it is done")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _open_locked(path: Path) -> int | None:
    """The open lock file, or None if another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def sync_tree(folder: Path) -> None:
    """Put every file of a folder on the disk, so that a loss of power leaves it whole.

    A file that goes meanwhile was on its way to another name, under which it is there.
    """
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if file.is_file():
                _sync(file)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the renames done inside `folder` survive a loss of power, where the system can."""
    if os.name == "nt":  # Windows cannot open a folder as a file.
        return
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
