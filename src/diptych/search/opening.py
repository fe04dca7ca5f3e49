"""How an index is opened: mended if need be, found to be whole, and of one piece even while it is replaced."""

from pathlib import Path

from diptych.data.replacing import half_built, recover
from diptych.search.errors import IndexUnreadable, WrongCheckpoint
from diptych.search.manifest import NAME, Manifest
from diptych.search.shards import Shards
from diptych.search.writing import WritableShards


def open_shards(folder: Path, checkpoint: str | None, *, write: bool | None) -> Shards:
    """The parts of the index in `folder`.

    Args:
        folder: absolute.
        checkpoint: what the index must have been made by, or None.
        write: to take writes; None if it was made so.

    Raises:
        WrongCheckpoint, IndexUnreadable, IndexInUse, OSError: as `Index.open`.
    """
    while True:
        recover(folder)
        before = _identity(folder)
        try:
            manifest = _ready_manifest(folder, checkpoint)
            writing = manifest.live is not None if write is None else write
            store = WritableShards.write(folder) if writing else Shards.read(folder, manifest)
        except (IndexUnreadable, OSError):
            if _identity(folder) == before:
                raise
        else:
            # A build may have taken its place meanwhile, or its writer begun another generation.
            after = _identity(folder)
            if after == before or (writing and after[:1] == before[:1]):
                return store
            store.close()


def _ready_manifest(folder: Path, checkpoint: str | None) -> Manifest:
    """The manifest, if it is of a whole index made by `checkpoint`."""
    if not folder.exists() and half_built(folder).exists():
        raise IndexUnreadable(f"the building of {folder} is under way or was interrupted; run `diptych index` again")
    if not folder.is_dir():
        raise IndexUnreadable(f"there is no index at {folder}; make one with `diptych index`")
    manifest = Manifest.read(folder)
    if manifest.state != "ready":
        raise IndexUnreadable(f"the building of {folder} was interrupted; run `diptych index` again")
    if checkpoint is not None and checkpoint != manifest.checkpoint:
        raise WrongCheckpoint(folder, kept=manifest.checkpoint, given=checkpoint)
    return manifest


def _identity(folder: Path) -> list[tuple[int, int, int] | None]:
    """What tells a folder, and the manifest in it, from others that took their names."""
    found: list[tuple[int, int, int] | None] = []
    for path in (folder, folder / NAME):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
        else:
            # The time of a folder changes with what is in it.
            found.append((status.st_dev, status.st_ino, 0 if path == folder else status.st_mtime_ns))
    return found
