"""How an index is opened: mended if need be, found to be whole, and of one piece even while it is replaced."""

from pathlib import Path

from diptych.data.replacing import half_built, recover
from diptych.search.building import shard_folder
from diptych.search.errors import IndexUnreadable, WrongCheckpoint
from diptych.search.manifest import Manifest
from diptych.search.shard import Shard


def open_shard(folder: Path, checkpoint: str | None) -> tuple[Manifest, Shard]:
    """The manifest of the index in `folder` and its one shard.

    Args:
        folder: absolute.
        checkpoint: what the index must have been made by, or None.

    Raises:
        WrongCheckpoint, IndexUnreadable, IndexInUse, OSError: as `Index.open`.
    """
    while True:
        recover(folder)
        before = _identity(folder)
        try:
            manifest = _ready_manifest(folder, checkpoint)
            shard = Shard.load(shard_folder(folder, manifest), manifest.spaces)
        except (IndexUnreadable, OSError):
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return manifest, shard
            # A build took its place meanwhile: that manifest may not be of this shard.
            shard.close()


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


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another that took its name."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
