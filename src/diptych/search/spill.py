"""Lexical rows of a shard that is being filled, in a file as they come, until `Postings` can be written of them.

A row is its terms (uint32) and after them its weights (float32), and rows lie one after another. Where each begins and
whose it is is known in memory only, 24 bytes a row: a process that dies while it fills a shard begins anew.
"""

import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from diptych.search.vectors import Sparse


class Spill:
    """Rows in a file that nobody else reads; of an id that is added again the last counts. Threads may add and read."""

    def __init__(self, path: Path) -> None:
        """Begin the file.

        Raises:
            OSError: if it is there, or cannot be written.
        """
        self._path, self._file = path, path.open("xb+")
        self._keys, self._starts = bytearray(), array("q", [0])  # of record i: 16 bytes from 16 i; bytes i to i + 1
        self._adding = threading.Lock()
        self._latest: tuple[NDArray[np.bytes_], NDArray[np.int64]] | None = None

    def add(self, points: Sequence[UUID], rows: Sequence[Sparse]) -> None:
        """Append rows that were checked, and the engine's ids of them.

        Raises:
            OSError: if the disk is full; none of them is then kept.
        """
        pieces = [
            np.asarray(row.indices, "<u4").tobytes() + np.asarray(row.values, "<f4").tobytes()
            for _, row in zip(points, rows, strict=True)
        ]
        with self._adding:
            self._file.seek(self._starts[-1])
            self._file.write(b"".join(pieces))
            self._file.flush()
            self._latest = None
            for point, piece in zip(points, pieces, strict=True):
                self._keys += point.bytes
                self._starts.append(self._starts[-1] + len(piece))

    def rows(self, keys: NDArray[np.uint8]) -> Iterator[Sparse]:
        """The rows of the ids `[M, 16]`, one after another, as they were added last.

        Raises:
            KeyError: if an id was never added.
        """
        names, records = self._by_id()
        wanted = np.ascontiguousarray(keys).view("S16").reshape(-1)
        place = np.searchsorted(names, wanted)
        absent = place == len(names)
        absent[~absent] = names[place[~absent]] != wanted[~absent]
        if absent.any():
            raise KeyError(f"{UUID(bytes=keys[int(absent.argmax())].tobytes())} was never added")
        for record in records[place].tolist():
            start, stop = self._starts[record : record + 2]
            data, half = os.pread(self._file.fileno(), stop - start, start), (stop - start) // 2
            yield Sparse(np.frombuffer(data[:half], "<u4"), np.frombuffer(data[half:], "<f4"))

    def vectors(self, points: Sequence[UUID]) -> list[Sparse]:
        """The rows of these ids."""
        return list(self.rows(keys_of(points)))

    def walk(self) -> Callable[[Sequence[UUID]], list[Sparse]]:
        """`vectors`, as `Lexicon.walk` has something quicker."""
        return self.vectors

    def remove(self) -> None:
        """Close the file and remove it."""
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _by_id(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        """The ids in order, each once, and the last record of each."""
        with self._adding:
            if self._latest is None:
                names = np.frombuffer(bytes(self._keys), "S16")
                order = np.argsort(names, kind="stable")
                names = names[order]
                last = np.ones(len(names), bool)
                last[:-1] = names[1:] != names[:-1]
                self._latest = names[last], order[last]
            return self._latest


def keys_of(points: Sequence[UUID]) -> NDArray[np.uint8]:
    """The engine's ids as `[M, 16]` bytes."""
    return np.frombuffer(b"".join(point.bytes for point in points), np.uint8).reshape(-1, 16)
