"""One shard: the only place that talks to the engine (Qdrant Edge), and knows its settings and its errors.

The engine raises bare `Exception`s whose text ends in the system's error number; here they
become the exceptions a Python program expects. Rows that come here were checked before.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    Filter,
    PayloadSchemaType,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchParams,
    UpdateOperation,
)
from qdrant_edge import Record as EngineRecord

from diptych.search.errors import IndexInUse, IndexUnreadable
from diptych.search.filters import field_path
from diptych.search.manifest import FieldType, Space
from diptych.search.points import Float32, Hit, Record, point_id, split_payload, to_points

if TYPE_CHECKING:  # a name of the stubs only
    from qdrant_edge import PointId

# Vectors of up to this many KiB are compared one by one: exact, at 2 to 10 ms a query, and ready
# at once. Above it `optimize` builds a graph (HNSW), which takes a minute for 200k x 192.
SCAN_UP_TO_KIB = 128 * 1024

# The engine writes through mapped memory: a full disk would kill the process (SIGBUS) where a
# plain write would raise. So room is asked for beforehand, with some to spare for its own files.
SPARE = 64 * 2**20

ROWS_AT_ONCE = 1000
QUERIES_AT_ONCE = 256

_DISTANCES = {"cosine": Distance.Cosine, "dot": Distance.Dot}
_FIELD_TYPES: dict[FieldType, PayloadSchemaType] = {
    "keyword": PayloadSchemaType.Keyword,
    "integer": PayloadSchemaType.Integer,
    "float": PayloadSchemaType.Float,
    "bool": PayloadSchemaType.Bool,
    "datetime": PayloadSchemaType.Datetime,
    "text": PayloadSchemaType.Text,
}


class Shard:
    """Rows in a folder; made by `create` or `load`."""

    def __init__(self, folder: Path, engine: EdgeShard) -> None:
        self.folder = folder
        self._engine = engine

    @classmethod
    def create(cls, folder: Path, spaces: Mapping[str, Space], fields: Mapping[str, FieldType], *, log: bool) -> Shard:
        """A new, empty shard.

        Args:
            folder: must not exist.
            spaces: name -> space.
            fields: payload field -> type, to be indexed.
            log: keep a log of writes. With it a write that returned outlives the process, and one
                process at a time may open the shard; without it nothing is safe until it is flushed,
                and any number may read. The engine fixes it for good.

        Raises:
            OSError: if it cannot be written.
        """
        vectors = {name: EdgeVectorParams(space.size, _DISTANCES[space.distance]) for name, space in spaces.items()}
        scan = EdgeOptimizersConfig(indexing_threshold=SCAN_UP_TO_KIB)
        _require_room(folder.parent, 0)
        folder.mkdir()
        with _engine_errors(folder):
            engine = EdgeShard.create(str(folder), EdgeConfig(vectors=vectors, optimizers=scan, wal_enabled=log))
            for name, kind in fields.items():
                engine.update(UpdateOperation.create_field_index(field_path(name), _FIELD_TYPES[kind]))
        return cls(folder, engine)

    @classmethod
    def load(cls, folder: Path) -> Shard:
        """Open a shard that was created before.

        Raises:
            IndexInUse: if it has a log and is open elsewhere.
            IndexUnreadable: if it is missing or damaged.
            OSError: if the system does not let it be read.
        """
        if not folder.is_dir():
            raise IndexUnreadable(f"{folder} is missing; rebuild the index with `diptych index`")
        try:
            with _engine_errors(folder):
                return cls(folder, EdgeShard.load(str(folder)))
        except (IndexInUse, OSError):
            raise
        except Exception as error:
            message = f"{folder} cannot be read ({error}); rebuild the index with `diptych index`"
            raise IndexUnreadable(message) from error

    def __len__(self) -> int:
        return self._engine.count(CountRequest(exact=True))

    def upsert(
        self, ids: Sequence[str], vectors: Mapping[str, Float32], payloads: Sequence[Mapping[str, object]]
    ) -> None:
        """Add rows, or replace those of the same ids, `ROWS_AT_ONCE` at a time."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            piece = {space: array[rows] for space, array in vectors.items()}
            texts = sum(len(str(payload)) for payload in payloads[rows])
            # Twice: once in the log, once in the shard. A character takes up to four bytes.
            _require_room(self.folder, 2 * (sum(array.nbytes for array in piece.values()) + 4 * texts))
            with _engine_errors(self.folder):
                self._engine.update(UpdateOperation.upsert_points(to_points(ids[rows], piece, payloads[rows])))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        points: list[PointId] = list({point_id(name) for name in ids})
        there = len(self._engine.retrieve(points, False, False))
        with _engine_errors(self.folder):
            self._engine.update(UpdateOperation.delete_points(points))
        return there

    def search(
        self, queries: Float32, space: str, *, limit: int, offset: int, where: Filter | None, exact: bool
    ) -> list[list[Hit]]:
        """The nearest rows to each of `[Q, D]` queries, nearest first."""
        # The engine makes room for as many hits as one asks for, even if there are not as many rows.
        count = self._engine.info().points_count  # an upper bound; the exact count takes longer than the search
        limit, offset = min(limit, max(count, 1)), min(offset, count)
        params = SearchParams(exact=exact)
        found: list[list[Hit]] = []
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            requests = [
                QueryRequest(
                    limit, offset, Query.Nearest(query, using=space), with_payload=True, filter=where, params=params
                )
                for query in queries[start : start + QUERIES_AT_ONCE].tolist()
            ]
            answers = self._engine.query_batch(QueryBatchRequest(requests))
            found += [[_hit(point.score, point.payload) for point in answer] for answer in answers]
        return found

    def get(self, ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """The rows of these ids, in their order, without those that are not there."""
        points = [point_id(name) for name in ids]
        found = {record.id: record for record in self._engine.retrieve(list(dict.fromkeys(points)), True, vectors)}
        return [_record(found[point]) for point in points if point in found]

    def scroll(self, *, where: Filter | None, vectors: bool) -> Iterator[list[Record]]:
        """All rows, `ROWS_AT_ONCE` at a time."""
        place: PointId | None = None
        while True:
            records, place = self._engine.scroll(ScrollRequest(place, ROWS_AT_ONCE, where, True, vectors))
            yield [_record(record) for record in records]
            if place is None:
                return

    def optimize(self) -> None:
        """Build the graph, if there are vectors enough to need one; cannot be interrupted."""
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        _require_room(self.folder, size)
        with _engine_errors(self.folder):
            self._engine.optimize()

    def flush(self) -> None:
        """Put all writes on the disk."""
        with _engine_errors(self.folder):
            self._engine.flush()

    def close(self) -> None:
        """Let go of the files."""
        self._engine.close()


def _require_room(folder: Path, size: int) -> None:
    """Raise before the disk is full, since the engine could not.

    Args:
        folder: exists, on the disk that is written.
        size: bytes about to be written.

    Raises:
        OSError: with `errno.ENOSPC`, if there is less than that and 64 MiB to spare.
    """
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        needed = (size + SPARE) / 2**20
        message = f"no space left: {needed:.0f} MiB needed, {free / 2**20:.0f} MiB free"
        raise OSError(errno.ENOSPC, message, str(folder))


def _hit(score: float, payload: Mapping[str, object] | None) -> Hit:
    name, shown = split_payload(payload)
    return Hit(name, score, shown)


def _record(record: EngineRecord) -> Record:
    """A row of ours from one of the engine's."""
    name, shown = split_payload(record.payload)
    vectors = cast(Mapping[str, list[float]], record.vector or {})
    return Record(name, shown, {space: np.array(vector, np.float32) for space, vector in vectors.items()})


@contextmanager
def _engine_errors(folder: Path) -> Iterator[None]:
    """Raise what the system said as `OSError`, and a log held elsewhere as `IndexInUse`."""
    try:
        yield
    except Exception as error:
        text = str(error)
        if "WouldBlock" in text:
            raise IndexInUse(f"{folder.parent} takes writes and is open elsewhere: close it there first") from error
        found = re.search(r"\(os error (\d+)\)", text)
        # A file missing inside a shard is damage to the shard, not a wrong path of the user's.
        if found and type(error) is Exception and "No such file" not in text:
            code = int(found[1])
            raise OSError(code, f"{os.strerror(code)}: {text}", str(folder)) from error
        raise
