"""Copies of shards: their files have holes (32 MiB long, 200 KiB of it there), and sealed ones never change."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

BLOCK = 2**20
# Smaller files are copied: the engine writes its settings anew when it opens a shard.
LINK_FROM = 2**16
# What the engine calls a file before it takes its name, as it does with settings when it opens a shard.
ON_ITS_WAY = ".atomicwrite"


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder, holes as holes.

    Raises:
        OSError: if it cannot be read or written.
    """
    for path, place in _files(source, target):
        _copy_file(path, place)


def link_folder(source: Path, target: Path) -> None:
    """Copy a folder whose large files never change: those are linked where the file system can.

    Raises:
        OSError: if it cannot be read or written.
    """
    for path, place in _files(source, target):
        if path.stat().st_size >= LINK_FROM:
            try:
                os.link(path, place)
                continue
            except OSError:  # another file system, or one without links
                place.unlink(missing_ok=True)
        _copy_file(path, place)


def _files(source: Path, target: Path) -> Iterable[tuple[Path, Path]]:
    """Every file of `source` and its place in `target`, whose folders are made."""
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        if path.name.startswith(ON_ITS_WAY):
            continue
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            yield path, place


def _copy_file(source: Path, target: Path) -> None:
    """Copy what is there of a file, and leave the holes."""
    with source.open("rb") as file, target.open("wb") as copy:
        end, place = source.stat().st_size, 0
        while place < end:
            try:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # which says that only a hole is left
                    raise
                break
            hole = os.lseek(file.fileno(), place, os.SEEK_HOLE)
            file.seek(place)
            copy.seek(place)
            while place < hole and (block := file.read(min(BLOCK, hole - place))):
                copy.write(block)
                place += len(block)
        copy.truncate(end)
    shutil.copymode(source, target)
