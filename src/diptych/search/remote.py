"""An index's rows on a Qdrant cluster: the store that `Index` asks when its place is an address.

What the server tells is turned into errors in `diptych.search.remote_faults`; how the collection came to be is in
`diptych.search.remote_building`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any, TypeVar, cast

from qdrant_client import QdrantClient, models

from diptych.search.address import Address
from diptych.search.cluster import Cluster
from diptych.search.errors import IndexUnreadable, WrongCheckpoint
from diptych.search.manifest import Manifest
from diptych.search.paging import settled
from diptych.search.points import ID_KEY, Hit, Record, point_id, split_payload
from diptych.search.remote_client import Connection
from diptych.search.remote_faults import CollectionMissing, Refused, TooLarge
from diptych.search.remote_filters import to_remote_filter
from diptych.search.remote_manifest import named, read_manifest
from diptych.search.remote_params import bytes_sent, from_remote, search_params, to_remote
from diptych.search.remote_writing import cut, send_all
from diptych.search.spaces import Space
from diptych.search.stored import score_of
from diptych.search.vectors import Rows, Sparse

ROWS_AT_ONCE = 1000
QUERIES_AT_ONCE = 64
# Up to here a page is asked for without counting rows first, which is a question more.
UNCOUNTED = 1000
_MANY = 2**31

Answer = TypeVar("Answer")


class RemoteStore:
    """Rows in a collection of a cluster; made by `open_remote`, or by a build.

    Any number of processes may read and write at once. Where a build replaces the index, readers go on with the
    new collection if its spaces and checkpoint are the same.
    """

    def __init__(self, connection: Connection, manifest: Manifest, collection: str) -> None:
        self.connection, self.manifest, self.collection = connection, manifest, collection
        self._rows_at_once = connection.cluster.batch

    def __len__(self) -> int:
        return self._now(lambda client, name: client.count(name, exact=True).count)

    def upsert(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows, or replace those of the same ids; every one is on the server when it returns.

        Raises:
            ValueError: if the server does not take a row, by itself too large or otherwise; it names the row.
            IndexUnreachable, IndexUnreadable, PermissionError, OSError: as `Connection.ask`.
        """
        # Batches arrive in any order, so the last of equal ids must be the only one.
        rows = sorted({name: row for row, name in enumerate(ids)}.values())
        spaces = self.manifest.spaces

        def sent(row: int) -> int:
            # Twice the characters: most are a byte, some four.
            texts = 2 * len(str(payloads[row]))
            return texts + sum(bytes_sent(spaces[name], kept[row]) for name, kept in vectors.items())

        def point(row: int) -> models.PointStruct:
            of_row = {name: to_remote(spaces[name], kept[row]) for name, kept in vectors.items()}
            payload = {**payloads[row], ID_KEY: ids[row]}
            return models.PointStruct(id=str(point_id(ids[row])), vector=cast(Any, of_row), payload=payload)

        def send(batch: range, stop: Event) -> None:
            points = [point(rows[place]) for place in batch]
            try:
                self._here(lambda client: client.upsert(self.collection, points, wait=True), stop=stop)
            except Refused as error:
                if len(batch) == 1:
                    row = rows[batch[0]]
                    raise ValueError(f"the server does not take {ids[row]!r} (row {row}): {error}") from error
                if isinstance(error, TooLarge):
                    self._rows_at_once = min(self._rows_at_once, len(batch) // 2)
                # Halved again and again, the row at fault is found.
                middle = batch.start + len(batch) // 2
                send(range(batch.start, middle), stop)
                send(range(middle, batch.stop), stop)

        batches = cut([sent(row) for row in rows], rows=lambda: self._rows_at_once)
        send_all(batches, send, in_flight=self.connection.cluster.in_flight)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        points = list(dict.fromkeys(str(point_id(name)) for name in ids))
        there = 0
        for start in range(0, len(points), ROWS_AT_ONCE):
            some: list[models.ExtendedPointId] = list(points[start : start + ROWS_AT_ONCE])
            there += len(self._here(lambda client, some=some: client.retrieve(self.collection, some, False, False)))
            chosen = models.PointIdsList(points=some)
            self._here(lambda client, chosen=chosen: client.delete(self.collection, chosen, wait=True))
        return there

    def search(
        self,
        queries: Rows,
        name: str,
        *,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """The nearest rows to each of Q queries in the space `name`, nearest first; as `Shard.search`."""
        space = self.manifest.spaces[name]
        wanted = to_remote_filter(where)
        # The server makes room for as many hits as one asks for, even if there are not as many rows.
        rows = _MANY if offset + limit <= UNCOUNTED else len(self)

        def request(query: int, number: int) -> models.QueryRequest:
            return models.QueryRequest(
                query=to_remote(space, queries[query]),
                using=name,
                limit=number,
                filter=wanted,
                params=search_params(space, exact=exact, ef=ef),
                with_payload=True,
            )

        def ask(some: Sequence[int], number: int) -> list[list[Hit]]:
            found: list[list[Hit]] = []
            # A query without terms finds nothing, and whether a server takes it is not ours to find out.
            asked = [i for i in some if not _is_blank(queries[i])]
            for start in range(0, len(asked), QUERIES_AT_ONCE):
                requests = [request(i, number) for i in asked[start : start + QUERIES_AT_ONCE]]
                answers = self._now(
                    lambda client, name, requests=requests: client.query_batch_points(name, requests=requests)
                )
                found += [[_hit(space, point) for point in answer.points] for answer in answers]
            by_query = dict(zip(asked, found, strict=True))
            return [by_query.get(i, []) for i in some]

        return settled(ask, len(queries), limit=limit, offset=offset, rows=rows)

    def score(self, query: Rows, name: str, ids: Sequence[str]) -> dict[str, float]:
        """The exact scores of those of these rows that are there, against one query; as `Shard.score`."""
        if _is_blank(query[0]):
            return {}
        space = self.manifest.spaces[name]
        points = {str(point_id(one)): one for one in ids}
        request = models.QueryRequest(
            query=to_remote(space, query[0]),
            using=name,
            limit=len(points),
            filter=models.Filter(must=[models.HasIdCondition(has_id=list(points))]),
            params=search_params(space, exact=True),
        )
        (answer,) = self._now(lambda client, name: client.query_batch_points(name, requests=[request]))
        return {points[str(point.id)]: score_of(space, point.score) for point in answer.points}

    def search_again(
        self,
        query: Rows,
        name: str,
        again: Rows,
        other: str,
        *,
        depth: int,
        keep: float,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The nearest `depth` rows to one query in one space, ranked by their scores in another: two requests."""
        (hits,) = self.search(query, name, limit=depth, where=where, exact=exact)
        scores = self.score(again, other, [hit.id for hit in hits]) if hits else {}
        ranked = [Hit(hit.id, scores.get(hit.id, 0.0) + keep * hit.score, hit.payload) for hit in hits]
        return sorted(ranked, key=lambda hit: -hit.score)[offset : offset + limit]

    def get(self, ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """The rows of these ids, in their order, without those that are not there."""
        points = [str(point_id(name)) for name in ids]
        asked = list(dict.fromkeys(points))
        found: dict[str, Record] = {}
        for start in range(0, len(asked), ROWS_AT_ONCE):
            some = asked[start : start + ROWS_AT_ONCE]
            records = self._now(lambda client, name, some=some: client.retrieve(name, some, True, vectors))
            found |= {str(record.id): self._record(record) for record in records}
        return [found[point] for point in points if point in found]

    def scroll(self, *, where: Mapping[str, object] | None, vectors: bool) -> Iterator[list[Record]]:
        """All rows that `where` asks for, `ROWS_AT_ONCE` at a time.

        Raises:
            IndexUnreadable: if the index is replaced meanwhile.
        """
        wanted, place = to_remote_filter(where), None

        def ask(client: QdrantClient, name: str) -> tuple[list[models.Record], Any]:
            return client.scroll(name, wanted, ROWS_AT_ONCE, offset=place, with_payload=True, with_vectors=vectors)

        records, place = self._now(ask)
        collection = self.collection
        while True:
            yield [self._record(record) for record in records]
            if place is None:
                return
            records, place = self._here(lambda client: ask(client, collection))

    def flush(self) -> None:
        """Nothing to do: every write waited for the server."""

    def close(self) -> None:
        """Let go of the sockets."""
        self.connection.close()

    def _here(self, call: Callable[[QdrantClient], Answer], *, stop: Event | None = None) -> Answer:
        """The answer of this collection and no later one of the same name."""
        try:
            return self.connection.ask(call, stop=stop)
        except CollectionMissing as error:
            raise IndexUnreadable(
                f"{self.connection.address} was replaced or deleted meanwhile; open it again"
            ) from error

    def _now(self, call: Callable[[QdrantClient, str], Answer]) -> Answer:
        """The answer of the index as it is now."""
        while True:
            asked = self.collection
            try:
                return self.connection.ask(lambda client, asked=asked: call(client, asked))
            except CollectionMissing:
                self._follow(asked)

    def _follow(self, missing: str) -> None:
        """Go on with the collection that took the place of the missing one.

        Raises:
            WrongCheckpoint, IndexUnreadable: if there is none, or its vectors are others.
        """
        place, collection = self.connection.address, named(self.connection)
        if collection is None or collection == missing:
            raise IndexUnreadable(f"{place} was deleted meanwhile; make it again with `diptych index`")
        now = read_manifest(self.connection, collection)
        if now.checkpoint != self.manifest.checkpoint:
            raise WrongCheckpoint(place, kept=now.checkpoint, given=self.manifest.checkpoint)
        if now.spaces != self.manifest.spaces:
            raise IndexUnreadable(f"{place} was rebuilt with other spaces meanwhile; open it again")
        self.collection = collection

    def _record(self, record: models.Record) -> Record:
        """A row of ours from one of the server's."""
        name, shown = split_payload(record.payload)
        spaces = self.manifest.spaces
        kept = cast(Mapping[str, Any], record.vector or {})
        return Record(name, shown, {space: from_remote(spaces[space], row) for space, row in kept.items()})


def open_remote(address: Address, cluster: Cluster | None = None, *, checkpoint: str | None = None) -> RemoteStore:
    """The store of the index at an address, which has its manifest.

    Args:
        address: of the index.
        cluster: how to speak to it.
        checkpoint: what the index must have been made by, or None.

    Raises:
        WrongCheckpoint: if another checkpoint made it.
        IndexUnreadable: if there is no index, it is half built or damaged, or a newer Diptych made it.
        IndexUnreachable: if the server does not answer.
        PermissionError: if it refuses the key.
    """
    connection = Connection(address, cluster or Cluster())
    try:
        collection, manifest = _current(connection)
        if manifest.state != "ready":
            raise IndexUnreadable(f"the building of {address} was interrupted; run `diptych index` again")
        if checkpoint is not None and checkpoint != manifest.checkpoint:
            raise WrongCheckpoint(address, kept=manifest.checkpoint, given=checkpoint)
        store = RemoteStore(connection, manifest, collection)
        store.manifest = replace(manifest, count=len(store))
        return store
    except BaseException:
        connection.close()
        raise


def _current(connection: Connection) -> tuple[str, Manifest]:
    """The collection of the index, and its manifest: of one piece even while it is replaced."""
    while True:
        collection = named(connection)
        if collection is None:
            raise IndexUnreadable(f"there is no index at {connection.address}; make one with `diptych index`")
        try:
            return collection, read_manifest(connection, collection)
        except IndexUnreadable:
            if named(connection) == collection:
                raise


def _hit(space: Space, point: models.ScoredPoint) -> Hit:
    name, shown = split_payload(point.payload)
    return Hit(name, score_of(space, point.score), shown)


def _is_blank(query: object) -> bool:
    """Whether a query of a lexical space has no term."""
    return isinstance(query, Sparse) and len(cast(Sequence[int], query.indices)) == 0
