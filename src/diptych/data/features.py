"""Features of frozen towers, kept by item: computed once for a picture or a text, whichever collection asks.

A store is a folder of shards. A shard is written once and never changed; under its final name it is whole:

    items.npy    [n] names of 16 bytes, see `diptych.data.items`
    starts.npy   [n + 1] int64: item i has the rows starts[i] : starts[i + 1] of the values
    grids.npy    [n, G] int64: how the item's rows lie in space; G is 0 where they are a plain sequence
    values.npy   [rows, D] bf16, as the uint16 of its bits
    shard.json   checksums

So a filling that is stopped keeps what it wrote, and two may fill at once: an item may then lie there twice.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import torch
from torch import Tensor

from diptych.data.store import require_room, sweep

ARRAYS = {"items": ("S16", 1), "starts": ("int64", 1), "grids": ("int64", 2), "values": ("uint16", 2)}
MAPPED = 1 << 26  # bytes; larger arrays are compared by shape alone: reading them all would take too long


class DamagedFeatures(ValueError):
    """A file of stored features is not as it was written."""


@dataclass(frozen=True)
class Shard:
    """The arrays of one shard, and the checksum that its values had."""

    folder: Path
    items: np.ndarray
    starts: np.ndarray
    grids: np.ndarray
    values: np.ndarray
    values_sum: int


class FeatureStore:
    """All shards of a folder, as they were when it was opened.

    Args:
        folder: may be missing: then the store is empty.

    Raises:
        DamagedFeatures: if a file is missing, cut short or altered; it says what to delete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = [_open(path) for path in sorted(folder.glob("shard-*"))]
        for shard in self.shards:
            if shard.values.shape[1] != self.width or shard.grids.shape[1] != self.shards[0].grids.shape[1]:
                raise _damaged(shard.folder, "values", f"width {shard.values.shape[1]}, others have {self.width}")
        items = np.concatenate([np.zeros(0, "S16"), *(shard.items for shard in self.shards)])
        self._order = np.argsort(items)
        self._sorted = items[self._order]
        self._lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(shard.starts) for shard in self.shards)])
        counts = np.array([len(shard.items) for shard in self.shards], dtype=np.int64)
        self._first = np.cumsum(counts) - counts

    @property
    def width(self) -> int:
        """D of the values; 0 where there are none."""
        return self.shards[0].values.shape[1] if self.shards else 0

    def find(self, items: np.ndarray) -> np.ndarray:
        """The place `[N]` of each item in the store; -1 where it has none."""
        if not len(self._sorted):
            return np.full(len(items), -1, dtype=np.int64)
        distinct, back = np.unique(items, return_inverse=True)  # sorted, they are found several times as fast
        at = np.searchsorted(self._sorted, distinct).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == distinct, self._order[at], -1)[back]

    def check(self, places: np.ndarray) -> None:
        """Read the values of the shards that have these places, and compare them with their checksums.

        Raises:
            DamagedFeatures: if they differ.
        """
        for number in np.unique(self._shard_of(places)):
            shard = self.shards[number]
            if shard.values.nbytes <= MAPPED and _sum(shard.values) != shard.values_sum:
                raise _damaged(shard.folder, "values", "another checksum")

    def lengths(self, places: np.ndarray) -> np.ndarray:
        """`[N]` how many rows of values each has."""
        return self._lengths[places]

    def take(self, places: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The values of some places, `[N, T, D]` float32, and their grids `[N, G]`; zeros follow the shorter ones."""
        lengths = self._lengths[places]
        bits = np.zeros((len(places), lengths.max(initial=1), self.width), np.uint16)
        grids = np.zeros((len(places), self.shards[0].grids.shape[1] if self.shards else 0), np.int64)
        shard_of = self._shard_of(places)
        for number in np.unique(shard_of):
            shard, mine = self.shards[number], np.flatnonzero(shard_of == number)
            rows, counts = places[mine] - self._first[number], lengths[mine]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            bits[np.repeat(mine, counts), within] = shard.values[np.repeat(shard.starts[rows], counts) + within]
            grids[mine] = shard.grids[rows]
        return torch.from_numpy(bits).view(torch.bfloat16).float(), grids

    def _shard_of(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first, places, side="right") - 1


class ShardWriter:
    """Gathers features and writes them as shards; on leaving its context, however that comes, what is left too.

    Args:
        folder: of the store; made if needed.
        items: how many make a shard.
        size: or how many bytes of values, whichever comes first.
    """

    def __init__(self, folder: Path, *, items: int = 4096, size: int = 1 << 28) -> None:
        self.folder, self.items, self.size = folder, items, size
        self._parts: list[dict[str, np.ndarray]] = []
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder / "shard")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.flush()

    def add(self, items: np.ndarray, values: Tensor, lengths: np.ndarray, *, grid: tuple[int, ...] = ()) -> None:
        """Add some items.

        Args:
            items: their names, `[n]` S16.
            values: `[rows, D]`, the items' rows end to end; rounded to bf16.
            lengths: `[n]`, how many rows each has.
            grid: how the rows of each lie in space.

        Raises:
            OSError: if the disk is too full for the shard that is due.
        """
        bits = values.detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint16).numpy()
        grids = np.tile(np.array(grid, dtype=np.int64), (len(items), 1))
        self._parts.append({"items": items, "lengths": lengths, "grids": grids, "values": bits})
        if sum(len(part["items"]) for part in self._parts) >= self.items or self._bytes() >= self.size:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered as a shard.

        Raises:
            OSError: if the disk is too full.
        """
        parts, self._parts = self._parts, []
        if not sum(len(part["items"]) for part in parts):
            return
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        starts = np.concatenate([[0], np.cumsum(joined.pop("lengths"))]).astype(np.int64)
        _write(self.folder, {**joined, "starts": starts})

    def _bytes(self) -> int:
        return sum(part["values"].nbytes for part in self._parts)


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """One shard, under a temporary name until all of it is on the disk."""
    require_room(folder, sum(array.nbytes for array in arrays.values()))
    temporary = Path(tempfile.mkdtemp(prefix=f".shard-{os.getpid()}-", dir=folder))
    try:
        for name, array in arrays.items():
            with (temporary / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _to_disk(file)
        with (temporary / "shard.json").open("w") as file:
            json.dump({"crc32": {name: _sum(array) for name, array in arrays.items()}}, file)
            _to_disk(file)
        os.rename(temporary, folder / f"shard-{uuid.uuid4().hex}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _to_disk(file: IO) -> None:
    """So that no power cut leaves a shard under its final name with holes in it."""
    file.flush()
    os.fsync(file.fileno())


def _open(folder: Path) -> Shard:
    try:
        sums = json.loads((folder / "shard.json").read_text())["crc32"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, "shard.json", error) from error
    found: dict[str, np.ndarray] = {}
    for name, (dtype, dims) in ARRAYS.items():
        try:
            array = np.load(folder / f"{name}.npy", mmap_mode="r" if name == "values" else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(folder, name, error) from error
        if array.dtype != dtype or array.ndim != dims:
            raise _damaged(folder, name, f"{array.dtype} of {array.ndim} dimensions, not {dtype} of {dims}")
        if name != "values" and _sum(array) != sums.get(name):
            raise _damaged(folder, name, "another checksum")
        found[name] = np.asarray(array)
    if len(found["values"]) != found["starts"][-1]:
        raise _damaged(folder, "values", f"{len(found['values'])} rows, not {found['starts'][-1]}")
    return Shard(folder, **found, values_sum=sums.get("values"))


def _damaged(folder: Path, name: str, why: object) -> DamagedFeatures:
    file = folder / (name if "." in name else f"{name}.npy")
    return DamagedFeatures(f"{file} is damaged ({why}): delete the folder {folder}; its features are then made again")
