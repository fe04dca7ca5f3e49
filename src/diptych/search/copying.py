"""Copies of shards: their files have holes (32 MiB long, 200 KiB of it there), and sealed ones never change."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

BLOCK = 2**20
# Smaller files are copied: the engine writes its settings anew when it opens a shard.
LINK_FROM = 2**16


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
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir()
        else:
            yield path, place


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file block by block, leaving out blocks of zeros."""
    with source.open("rb") as file, target.open("wb") as copy:
        while block := file.read(BLOCK):
            if block.count(0) == len(block):
                copy.seek(len(block), os.SEEK_CUR)
            else:
                copy.write(block)
        copy.truncate()
    shutil.copymode(source, target)
