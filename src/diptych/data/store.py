"""Arrays made once and kept: decoded pixels, hashes of items. A folder of `.npy` files a key.

The key is a hash of all that the arrays depend on, so nothing stale is ever read; a store that was
interrupted leaves only a temporary folder, which is thrown away.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.cache import cache_root

Fields = Mapping[str, tuple[tuple[int, ...], str]]
Chunk = tuple["slice | np.ndarray", Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Stored:
    """Arrays on disk, memory-mapped and read-only, and a note kept beside them."""

    arrays: Mapping[str, np.ndarray]
    note: Any


def stored(key: str, rows: int, fields: Fields, fill: Callable[[], Iterable[Chunk]], note: Callable[[], Any]) -> Stored:
    """Open the arrays of `key`, or make them.

    Args:
        key: hash of everything that they depend on; see `hash_of`.
        rows: the leading length of every array.
        fields: name -> (shape of one row, dtype name).
        fill: yields (rows, name -> values) until all is written; called only where nothing is stored yet.
        note: called after `fill`; a JSON-able remark to keep (which rows were bad, say).

    Raises:
        OSError: if the disk is full; nothing half-made stays under the key.
    """
    folder = cache_root() / "arrays" / key
    if not (folder / "note.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        require_room(folder.parent, _size(rows, fields))
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}-{os.getpid()}-", dir=folder.parent))
        try:
            _write(temporary, rows, fields, fill)
            (temporary / "note.json").write_text(json.dumps(note()))
            _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return _read(folder, fields)


def find_stored(key: str, fields: Fields) -> Stored | None:
    """The arrays of `key` if they are there, else None."""
    folder = cache_root() / "arrays" / key
    return _read(folder, fields) if (folder / "note.json").exists() else None


def _read(folder: Path, fields: Fields) -> Stored:
    arrays = {name: _open(folder / f"{name}.npy") for name in fields}
    return Stored(arrays, json.loads((folder / "note.json").read_text()))


def _write(folder: Path, rows: int, fields: Fields, fill: Callable[[], Iterable[Chunk]]) -> None:
    maps = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(dtype), (rows, *shape))
        for name, (shape, dtype) in fields.items()
    }
    for cut, values in fill():
        for name, value in values.items():
            maps[name][cut] = value
    for array in maps.values():
        array.flush()


def sweep(folder: Path) -> None:
    """Remove the temporary folders `.NAME-PID-*` that processes that died left beside `folder`, called NAME."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        owner = int(left.name.split("-")[-2])
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:  # somebody else's, and alive
            continue


def _size(rows: int, fields: Fields) -> int:
    return sum(rows * int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in fields.values())


def require_room(folder: Path, needed: int) -> None:
    """Raise before the disk is full: writing to mapped memory would kill the process instead.

    Raises:
        OSError: if fewer than `needed` bytes, and some to spare, are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + (64 << 20):
        message = f"no space left for {needed >> 20:,} MiB ({free >> 20:,} MiB free); free some, or set DIPTYCH_CACHE"
        raise OSError(errno.ENOSPC, message, str(folder))


def _open(path: Path) -> np.ndarray:
    array = np.load(path, allow_pickle=False) if path.stat().st_size < 1 << 28 else np.load(path, mmap_mode="r")
    array.setflags(write=False)
    return array


def _publish(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "note.json").exists():  # a leftover without its note is no store
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(temporary, folder)


def hash_of(*things: Any) -> str:
    """A short hash (32 hex digits) of JSON-able values, bytes and arrays, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for thing in things:
        if isinstance(thing, np.ndarray):
            digest.update(str(thing.dtype).encode() + str(thing.shape).encode() + np.ascontiguousarray(thing).tobytes())
        elif isinstance(thing, bytes):
            digest.update(thing)
        else:
            digest.update(json.dumps(thing, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()
