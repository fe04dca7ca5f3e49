"""How an index is filled: beside its place, refused where it would lose something, put in whole."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from diptych.data.replacing import replacement
from diptych.search.errors import IndexUnreadable
from diptych.search.holding import require_no_writer
from diptych.search.manifest import Manifest
from diptych.search.shard import Shard


def shard_folder(folder: Path, manifest: Manifest) -> Path:
    """Where the one shard of a new index lies."""
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
        require_replaceable(folder)
        manifest.write(fresh)
        shard = Shard.create(
            shard_folder(fresh, manifest),
            manifest.spaces,
            manifest.payload_fields,
            log=manifest.live is not None,
            scan_up_to_kib=manifest.scan_up_to_kib,
        )
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
        require_replaceable(folder)


def _is_free(folder: Path) -> bool:
    """Whether there is nothing, or an empty folder."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def require_replaceable(folder: Path) -> None:
    """Raise if `folder` is anything but free, or an index that nobody writes to."""
    if _is_free(folder):
        return
    try:
        Manifest.read(folder)
    except IndexUnreadable as error:
        raise IndexUnreadable(f"will not replace {folder}; remove it if it may go: {error}") from None
    require_no_writer(folder)
