"""One shard: the only place that talks to the engine (Qdrant Edge). Rows that come here were checked before.

How a space lies in the engine is told in `diptych.search.stored`, what becomes of its errors in
`diptych.search.faults`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from qdrant_edge import (
    CountRequest,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    Filter,
    HasIdCondition,
    PayloadSchemaType,
    Point,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    UpdateOperation,
)
from qdrant_edge import Record as EngineRecord

from diptych.search.errors import IndexInUse, IndexUnreadable
from diptych.search.faults import engine_errors, require_room
from diptych.search.filters import field_path, to_filter
from diptych.search.manifest import FieldType
from diptych.search.masking import masked
from diptych.search.paging import settled
from diptych.search.points import Hit, Record, point_id, split_payload, to_points
from diptych.search.spaces import Space
from diptych.search.stored import (
    dense_params,
    from_engine,
    room_of,
    score_of,
    search_params,
    sparse_params,
    to_engine,
)
from diptych.search.vectors import Rows

if TYPE_CHECKING:  # a name of the stubs only
    from qdrant_edge import PointId

# Vectors of up to this many KiB are compared one by one: exact, at 2 to 10 ms a query, and ready
# at once. Above it `optimize` builds a graph (HNSW), which takes a minute for 200k x 192.
SCAN_UP_TO_KIB = 128 * 1024

ROWS_AT_ONCE = 1000
QUERIES_AT_ONCE = 256

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

    def __init__(self, folder: Path, engine: EdgeShard, spaces: Mapping[str, Space]) -> None:
        self.folder, self.spaces = folder, spaces
        self._engine = engine

    @classmethod
    def create(
        cls,
        folder: Path,
        spaces: Mapping[str, Space],
        fields: Mapping[str, FieldType],
        *,
        log: bool,
        scan_up_to_kib: int | None = None,
    ) -> Shard:
        """A new, empty shard.

        Args:
            folder: must not exist.
            spaces: name -> space.
            fields: payload field -> type, to be indexed.
            log: keep a log of writes. With it a write that returned outlives the process, and one
                process at a time may open the shard; without it nothing is safe until it is flushed,
                and any number may read. The engine fixes it for good.
            scan_up_to_kib: above so many KiB of vectors `optimize` builds a graph; None for `SCAN_UP_TO_KIB`.

        Raises:
            OSError: if it cannot be written.
        """
        scan = EdgeOptimizersConfig(indexing_threshold=scan_up_to_kib or SCAN_UP_TO_KIB)
        require_room(folder.parent, 0)
        folder.mkdir()
        with engine_errors(folder):
            config = EdgeConfig(
                vectors=dense_params(spaces), sparse_vectors=sparse_params(spaces), optimizers=scan, wal_enabled=log
            )
            engine = EdgeShard.create(str(folder), config)
            for name, kind in fields.items():
                engine.update(UpdateOperation.create_field_index(field_path(name), _FIELD_TYPES[kind]))
        return cls(folder, engine, spaces)

    @classmethod
    def load(cls, folder: Path, spaces: Mapping[str, Space]) -> Shard:
        """Open a shard that was created before, with the same spaces.

        Raises:
            IndexInUse: if it has a log and is open elsewhere.
            IndexUnreadable: if it is missing or damaged.
            OSError: if the system does not let it be read.
        """
        if not folder.is_dir():
            raise IndexUnreadable(f"{folder} is missing; rebuild the index with `diptych index`")
        try:
            with engine_errors(folder):
                return cls(folder, EdgeShard.load(str(folder)), spaces)
        except (IndexInUse, OSError):
            raise
        except Exception as error:
            message = f"{folder} cannot be read ({error}); rebuild the index with `diptych index`"
            raise IndexUnreadable(message) from error

    def __len__(self) -> int:
        return self._engine.count(CountRequest(exact=True))

    @property
    def empty(self) -> bool:
        """Whether there surely is no row; quick."""
        return self._engine.info().points_count == 0

    def holding(self, points: Sequence[UUID]) -> Set[UUID]:
        """Which of these there are, by the engine's ids."""
        return {cast(UUID, record.id) for record in self._engine.retrieve(list(points), False, False)}

    def upsert(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows, or replace those of the same ids, `ROWS_AT_ONCE` at a time."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            piece = {space: array[rows] for space, array in vectors.items()}
            texts = sum(len(str(payload)) for payload in payloads[rows])
            # Twice: once in the log, once in the shard. A character takes up to four bytes.
            require_room(self.folder, 2 * (sum(map(room_of, piece.values())) + 4 * texts))
            with engine_errors(self.folder):
                self._engine.update(
                    UpdateOperation.upsert_points(to_points(ids[rows], piece, payloads[rows], self.spaces))
                )

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        points: list[PointId] = list({point_id(name) for name in ids})
        there = len(self._engine.retrieve(points, False, False))
        with engine_errors(self.folder):
            self._engine.update(UpdateOperation.delete_points(points))
        return there

    def search(
        self,
        queries: Rows,
        name: str,
        *,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        among: Sequence[str] | None = None,
        exact: bool = False,
        ef: int | None = None,
        without: Set[str] = frozenset(),
    ) -> list[list[Hit]]:
        """The nearest rows to each of Q queries in the space `name`, nearest first.

        Args:
            queries: Q rows that were checked.
            name: of the space.
            limit, offset: of the page.
            where: what the payload must have; the forms are in `diptych.search.filters`.
            among: ids of rows, if only they are asked for.
            exact: compare with every row.
            ef: rows in view while a graph is walked; None for `EF`.
            without: ids of rows to leave out.
        """
        # The engine makes room for as many hits as one asks for, even if there are not as many rows.
        count = self._engine.info().points_count  # an upper bound; the exact count takes longer than the search
        space = self.spaces[name]
        params, vectors = search_params(space, exact=exact, ef=ef), to_engine(space, queries)
        wanted = to_filter(where)
        if among is not None:
            chosen = HasIdCondition({point_id(one) for one in among})
            wanted = Filter(must=[chosen] if wanted is None else [chosen, wanted])

        def ask(some: Sequence[int], number: int) -> list[list[Hit]]:
            requests = [
                QueryRequest(number, 0, Query.Nearest(vectors[i], using=name), None, None, True, wanted, None, params)
                for i in some
            ]
            found: list[list[Hit]] = []
            for start in range(0, len(requests), QUERIES_AT_ONCE):
                answers = self._engine.query_batch(QueryBatchRequest(requests[start : start + QUERIES_AT_ONCE]))
                found += [[_hit(space, point.score, point.payload) for point in answer] for answer in answers]
            return found

        alive = masked(ask, without, count) if without else ask
        return settled(alive, len(vectors), limit=limit, offset=offset, rows=count)

    def get(self, ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """The rows of these ids, in their order, without those that are not there."""
        points = [point_id(name) for name in ids]
        found = {record.id: record for record in self._engine.retrieve(list(dict.fromkeys(points)), True, vectors)}
        return [self._record(found[point]) for point in points if point in found]

    def scroll(self, *, where: Mapping[str, object] | None, vectors: bool) -> Iterator[list[Record]]:
        """All rows that `where` asks for, `ROWS_AT_ONCE` at a time."""
        wanted = to_filter(where)
        place: PointId | None = None
        while True:
            records, place = self._engine.scroll(ScrollRequest(place, ROWS_AT_ONCE, wanted, True, vectors))
            yield [self._record(record) for record in records]
            if place is None:
                return

    def pour(self, into: Shard, without: Set[str]) -> None:
        """Add all rows but those of the ids `without` to another shard of the same spaces, as they are."""
        place: PointId | None = None
        while True:
            records, place = self._engine.scroll(ScrollRequest(place, ROWS_AT_ONCE, None, True, True))
            kept = [record for record in records if split_payload(record.payload)[0] not in without]
            points = [Point(record.id, cast(Any, record.vector), record.payload) for record in kept]
            require_room(into.folder, 0)
            with engine_errors(into.folder):
                into._engine.update(UpdateOperation.upsert_points(points))
            if place is None:
                return

    def optimize(self) -> None:
        """Build the graph, if there are vectors enough to need one; cannot be interrupted."""
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        require_room(self.folder, size)
        with engine_errors(self.folder):
            self._engine.optimize()

    def flush(self) -> None:
        """Put all writes on the disk."""
        with engine_errors(self.folder):
            self._engine.flush()

    def close(self) -> None:
        """Let go of the files."""
        self._engine.close()

    def _record(self, record: EngineRecord) -> Record:
        """A row of ours from one of the engine's."""
        name, shown = split_payload(record.payload)
        vectors = cast(Mapping[str, Any], record.vector or {})
        return Record(name, shown, {space: from_engine(self.spaces[space], kept) for space, kept in vectors.items()})


def _hit(space: Space, score: float, payload: Mapping[str, object] | None) -> Hit:
    name, shown = split_payload(payload)
    return Hit(name, score_of(space, score), shown)
