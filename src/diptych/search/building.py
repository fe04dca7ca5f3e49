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
from dataclasses import replace
from pathlib import Path

from diptych.search.errors import IndexInUse, IndexUnreadable
from diptych.search.manifest import Manifest, sync_folder
from diptych.search.shard import Shard

# The time between two renames is far below a millisecond; a second allows for a sleepy disk.
PATIENCE_SECONDS = 1.0


def absolute(folder: str | Path) -> Path:
    """The folder itself, behind `~` and links, since a rename would replace the link."""
    return Path(folder).expanduser().resolve()


def half_built(folder: Path) -> Path:
    """Where the next `folder` is filled."""
    return folder.with_name(f".{folder.name}.building")


def _earlier(folder: Path) -> Path:
    """Where the earlier `folder` lies between the two renames."""
    return folder.with_name(f".{folder.name}.old")


def shard_folder(folder: Path, manifest: Manifest) -> Path:
    """Where the one shard of an index lies."""
    (name,) = manifest.sealed if manifest.live is None else (manifest.live,)
    return folder / name


@contextmanager
def filling(folder: Path, manifest: Manifest, *, overwrite: bool) -> Iterator[tuple[Path, Shard]]:
    """A shard to fill beside `folder`; when the block ends well it is finished and put in the place of `folder`.

    Args:
        folder: absolute; an index, or an empty folder, or nothing.
        manifest: of the new index, its state "building".
        overwrite: whether an index that is there may be replaced.

    Yields:
        The folder being filled, and its one shard; closed when the block ends.

    Raises:
        FileExistsError: if there is anything in `folder` and `overwrite` is false.
        IndexUnreadable: if there is something else in `folder`.
        IndexInUse: if the index there is being built, or is open for writing.
        OSError: if anything cannot be written; the earlier index is then in its place.
    """
    with replacement(folder) as fresh:
        if not overwrite and not _is_free(folder):
            raise FileExistsError(f"{folder} exists; open it with Index.open, or pass overwrite=True to replace it")
        _refuse_to_lose(folder)
        manifest.write(fresh)
        log = manifest.live is not None
        shard = Shard.create(shard_folder(fresh, manifest), manifest.spaces, manifest.payload_fields, log=log)
        try:
            yield fresh, shard
            shard.optimize()
            shard.flush()
            count = len(shard)
        except BaseException:
            # What went wrong counts, not what the closing may add to it.
            with suppress(Exception):
                shard.close()
            raise
        shard.close()
        replace(manifest, state="ready", count=count).write(fresh)
        _refuse_to_lose(folder)


@contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """An empty folder to fill; when the block ends well it takes the place of `folder`, else it is removed.

    Args:
        folder: absolute; need not exist. Whether it may be replaced is for the caller to know.

    Yields:
        The folder to fill. All files in it must be closed before the block ends.

    Raises:
        IndexInUse: if another process is building the same folder.
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
        IndexInUse: if `folder` is away and a process that lives is building it.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not folder.exists() and _earlier(folder).exists():
        try:
            with _builder_lock(folder):
                _put_back(folder)
        except IndexInUse:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _is_free(folder: Path) -> bool:
    """Whether there is nothing, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _refuse_to_lose(folder: Path) -> None:
    """Raise if `folder` is anything but free, or an index that nobody writes to."""
    if _is_free(folder):
        return
    try:
        manifest = Manifest.read(folder)
    except IndexUnreadable as error:
        raise IndexUnreadable(f"will not replace {folder}; remove it if it may go: {error}") from None
    if manifest.live is not None:
        # Open for writing elsewhere is what only the engine knows; a damaged shard may be replaced.
        with suppress(IndexUnreadable):
            Shard.load(shard_folder(folder, manifest)).close()


def _swap(fresh: Path, folder: Path) -> None:
    """Rename `folder` away, `fresh` into its place, and delete what was there."""
    earlier = _earlier(folder)
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
        IndexInUse: if another is.
    """
    path = folder.with_name(f".{folder.name}.lock")
    handle = _open_locked(path)
    # Whoever built before us removed the lock file when done: a lock on a removed file keeps nobody out.
    while handle is not None and not _is_at(handle, path):
        os.close(handle)
        handle = _open_locked(path)
    if handle is None:
        raise IndexInUse(f"{folder} is being built by another process; wait until it is done")
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
