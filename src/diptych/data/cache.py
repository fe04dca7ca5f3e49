"""Where Diptych keeps what it can make again, and how a half-written folder is told from a whole one.

The root is the user's cache folder, or what the environment variable `DIPTYCH_CACHE` says. A
cached table is a folder written beside its final place and renamed into it, with a manifest of
digests, so that a crash, a full disk or a stray edit leads to a new rendering, not to bad data.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import datasets
import platformdirs
from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

MANIFEST = "manifest.json"


def cache_root() -> Path:
    """The folder under which every cache of Diptych lies; it need not exist yet.

    Returns
    -------
    Path
        `$DIPTYCH_CACHE` with `~` expanded if that variable is set and not empty, else the
        platform's user cache folder (`~/.cache/diptych` on Linux).
    """
    chosen = os.environ.get("DIPTYCH_CACHE", "")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("diptych")


def cached_table(folder: Path, make: Callable[[], datasets.Dataset]) -> datasets.Dataset:
    """Load the table kept in `folder`, or make it and keep it there.

    Two processes may call this at once: both make the table, one of the two copies is kept.

    Parameters
    ----------
    folder
        Final place of the table. Its name should change whenever `make` would give other rows.
    make
        Gives the table; called only if `folder` is absent, incomplete or altered.

    Returns
    -------
    datasets.Dataset
        Memory-mapped from `folder`.

    Raises
    ------
    OSError
        If `folder` cannot be written (no permission, no space).
    """
    if not _is_whole(folder):
        _keep(make(), folder)
    return datasets.Dataset.load_from_disk(str(folder))


def _digests(folder: Path) -> dict[str, str]:
    """File name -> digest, of every file of `folder` but the manifest."""
    return {
        path.name: blake2b(path.read_bytes(), digest_size=16).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }


def _is_whole(folder: Path) -> bool:
    """Whether `folder` holds exactly the files, byte for byte, that were written there."""
    try:
        expected = json.loads((folder / MANIFEST).read_text("utf-8"))
        return expected == _digests(folder)
    except (OSError, ValueError):
        return False


def _keep(table: datasets.Dataset, folder: Path) -> None:
    """Write `table` beside `folder` and rename it into place, over a broken copy if there is one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    fresh = scratch / "fresh"
    try:
        with _no_progress_bars():
            table.save_to_disk(str(fresh), num_shards=1)
        (fresh / MANIFEST).write_text(json.dumps(_digests(fresh), indent=1), "utf-8")
        if folder.exists() and not _is_whole(folder):
            os.replace(folder, scratch / "broken")
        try:
            os.replace(fresh, folder)
        except OSError:
            # Another process was faster; its copy is as good as ours.
            if not _is_whole(folder):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep `datasets` from drawing a bar of its own under the caller's."""
    shown = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()
