"""Which rows of shards that are never written again are dead, and how that survives whatever happens to the process.

A file of lines, appended to and never changed, each a JSON list:

    ["dead", {shard: ids}]      these rows of the shard are deleted, or lie in a newer shard too
    ["moving", {shard: ids}]    these are about to be added to the live shard anew
    ["moved"]                   they were

A process that dies between the last two leaves it open where those rows are; then whoever opens the index next
looks into the live shard. So a row that is replaced is at any time in one shard alone.
"""

import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from diptych.search.errors import IndexUnreadable
from diptych.search.faults import require_room

Dead = dict[str, set[str]]


def write_tombstones(
    path: Path, published: Mapping[str, Iterable[str]], later: Mapping[str, Iterable[str]] | None = None
) -> int:
    """A new file of dead rows, on the disk once it returned.

    Args:
        path: of the file; one that is there is replaced.
        published: shard -> dead ids that readers leave out.
        later: shard -> further dead ids, that only the writer leaves out as yet.

    Returns:
        How many bytes say what is published.

    Raises:
        OSError: if it cannot be written.
    """
    first, second = _line("dead", published), _line("dead", later or {})
    require_room(path.parent, len(first) + len(second))
    with path.open("wb") as file:
        file.write(first + second)
        file.flush()
        os.fsync(file.fileno())
    return len(first)


def read_tombstones(path: Path, size: int | None = None) -> tuple[Dead, Dead]:
    """The dead rows, and those of which it is open whether they were moved; both shard -> ids.

    Args:
        path: of the file.
        size: read only so many bytes; None for all.

    Raises:
        IndexUnreadable: if the file is missing or damaged; a last line that a dying process left unfinished is not.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(-1 if size is None else size).split(b"\n")[:-1]
    except FileNotFoundError:
        raise IndexUnreadable(f"{path} is missing; rebuild the index with `diptych index`") from None
    dead: Dead = {}
    unsure: Dead = {}
    moving: Dead = {}
    for number, line in enumerate(lines, start=1):
        try:
            word, *rest = json.loads(line)
            rows = {shard: set(ids) for shard, ids in rest[0].items()} if word != "moved" else {}
            if word not in ("dead", "moving", "moved"):
                raise ValueError(f"unknown word {word!r}")
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            message = f"{path} is damaged in line {number} ({error}); rebuild the index with `diptych index`"
            raise IndexUnreadable(message) from error
        _merge(dead if word == "moved" else unsure, moving)
        moving = rows if word == "moving" else {}
        if word == "dead":
            _merge(dead, rows)
    _merge(unsure, moving)
    return dead, {shard: ids - dead.get(shard, set()) for shard, ids in unsure.items()}


class TombstoneLog:
    """The file open to be appended to; what a method returned from survives the process."""

    def __init__(self, path: Path) -> None:
        """Open the file, without a last line that was left unfinished.

        Raises:
            OSError: if it cannot be written.
        """
        self._file = path.open("r+b", buffering=0)
        self.size = path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def dead(self, rows: Mapping[str, Iterable[str]]) -> None:
        """These rows, shard -> ids, are dead."""
        self._append(_line("dead", rows))

    def moving(self, rows: Mapping[str, Iterable[str]]) -> None:
        """These rows, shard -> ids, are about to be added to the live shard."""
        self._append(_line("moving", rows))

    def moved(self) -> None:
        """Those named last were added."""
        self._append(_line("moved"))

    def sync(self) -> None:
        """Put all of it on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _append(self, lines: bytes) -> None:
        """Write whole lines, or none."""
        try:
            written = self._file.write(lines)
            if written != len(lines):
                raise OSError(errno.ENOSPC, "no space left", self._file.name)
        except BaseException:
            self._file.truncate(self.size)
            self._file.seek(self.size)
            raise
        self.size += len(lines)


def _line(word: str, rows: Mapping[str, Iterable[str]] | None = None) -> bytes:
    """One line of the file."""
    kept = [] if rows is None else [{shard: sorted(ids) for shard, ids in rows.items()}]
    return json.dumps([word, *kept], separators=(",", ":")).encode() + b"\n"


def _merge(into: Dead, rows: Dead) -> None:
    for shard, ids in rows.items():
        into.setdefault(shard, set()).update(ids)
