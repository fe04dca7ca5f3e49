"""An index, on disk or on a cluster: named vectors and payloads, searched by nearness and filtered by payload.

There are two ways to make one, and they differ in what they are for:

    Index.build    filled once: replaces an earlier one at a stroke
    Index.create   takes writes at any time, each safe once it returned, from one process

Either is opened by one process that writes (`Index.open`, for a built one with `write=True`) and any number that read
(`read_only=True`). What is written goes to a live shard, which only the writer sees; sealed, by itself when it is
large or by `seal`, it is what readers see when they open the index or `refresh`.

Where the place is an address, `http://HOST:6333/NAME`, the index lies on a Qdrant cluster and is
written from any number of processes; all else is the same.

The index gets vectors and never knows the model, only the fingerprint of its checkpoint, so
that it cannot be asked with vectors from another. A row has one vector in each space, and spaces
are of several kinds (`diptych.search.spaces`). Up to 128 MiB of vectors (170,000 rows of 192)
every search is exact, but for dense spaces with binary copies; above that a sealed shard has an
HNSW graph (Malkov & Yashunin 2016, arXiv 1603.09320) over dense spaces, and `exact=True` says how
much it misses. Rankings are combined in `diptych.search.fusing`, `reranking` and `grouping`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from diptych.data.replacing import absolute
from diptych.search.address import cluster_address
from diptych.search.building import filling
from diptych.search.checking import check_rows, check_vectors
from diptych.search.cluster import Cluster
from diptych.search.errors import IndexSealed, WrongCheckpoint
from diptych.search.manifest import FieldType, Manifest
from diptych.search.opening import open_shards
from diptych.search.parts import Part
from diptych.search.points import Hit, Record, check_ids, check_payloads
from diptych.search.shards import Shards
from diptych.search.sizes import Sizes, disk_sizes
from diptych.search.spaces import Space
from diptych.search.store import Store
from diptych.search.vectors import Given, GivenVector
from diptych.search.writing import WritableShards


class Index:
    """Vectors and payloads in a folder; made by `create`, `build` or `open`, never directly.

    Attributes:
        place: where it lies: a folder, or an address on a cluster.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "index"
        >>> with Index.build(folder, {"dense": Space(2, "cosine")}, checkpoint="c0ffee") as index:
        ...     index.add(["cat", "dog"], {"dense": np.eye(2)}, [{"legs": 4}, {"legs": 4}])
        >>> with Index.open(folder, checkpoint="c0ffee") as index:
        ...     index.search(np.array([0.0, 5.0]), limit=1, where={"legs": 4})
        [Hit(id='dog', score=1.0, payload={'legs': 4})]
    """

    def __init__(self, place: Path | str, store: Store, *, writable: bool) -> None:
        self.place = place
        self._store: Store | None = store
        self._kept = store.manifest
        self._writable = writable

    @property
    def folder(self) -> Path:
        """Where it lies, if that is a folder.

        Raises:
            ValueError: if it lies on a cluster.
        """
        if isinstance(self.place, str):
            raise ValueError(f"{self.place} lies on a cluster, and in no folder")
        return self.place

    @property
    def manifest(self) -> Manifest:
        """What it holds, as it was when it was last opened, changed or closed."""
        return self._kept if self._store is None else self._store.manifest

    @classmethod
    def create(
        cls,
        folder: str | Path,
        spaces: Mapping[str, Space],
        *,
        checkpoint: str,
        sources: str = "",
        payload_fields: Mapping[str, FieldType] | None = None,
        overwrite: bool = False,
        scan_up_to_kib: int | None = None,
        cluster: Cluster | None = None,
    ) -> "Index":
        """A new, empty index that takes writes for as long as it lives.

        Args:
            folder: where; parents are made. Or an address on a cluster: `http://HOST:6333/NAME`.
            spaces: name -> what its vectors are like; at least one.
            checkpoint: fingerprint of the checkpoint that makes the vectors.
            sources: where the rows come from, in your words.
            payload_fields: payload field -> type, of fields often filtered by; they become quick to filter.
            overwrite: replace an index that is there.
            scan_up_to_kib: up to so many KiB of vectors a shard is searched by comparing every row; the live shard is
                sealed above it, and gets a graph. None for 128 MiB.
            cluster: how it lies on a cluster, and how that is spoken to.

        Raises:
            FileExistsError: if the folder has anything in it and `overwrite` is false.
            IndexUnreadable: if it has, and is not an index.
            IndexInUse: if the index there is being built, or open for writing.
            ValueError: if a space or field has no name, or there are no spaces, or no checkpoint; if `cluster` is
                given and a folder.
            OSError: if it cannot be written; on a cluster `IndexUnreachable` or `PermissionError`.
        """
        manifest = Manifest.new(spaces, checkpoint, sources, payload_fields, scan_up_to_kib)
        address = cluster_address(folder, cluster)
        if address is not None:
            from diptych.search.remote_building import filling_remote

            with filling_remote(address, manifest, cluster, writable=True, overwrite=overwrite):
                pass
            return cls.open(folder, cluster=cluster)
        manifest = dataclasses.replace(manifest, live="live-0")
        with filling(absolute(folder), manifest, overwrite=overwrite):
            pass
        return cls.open(folder)

    @classmethod
    @contextmanager
    def build(
        cls,
        folder: str | Path,
        spaces: Mapping[str, Space],
        *,
        checkpoint: str,
        sources: str = "",
        payload_fields: Mapping[str, FieldType] | None = None,
        scan_up_to_kib: int | None = None,
        cluster: Cluster | None = None,
    ) -> Iterator["Index"]:
        """Fill a new index; it replaces the one in `folder` when the block ends well, and only then.

        If the block raises, is interrupted or killed, or the disk is full, the earlier index
        stays as it was, and the next build clears what was left. Readers of the earlier one
        keep it until they open again. Past 128 MiB of vectors the end of the block builds the
        graph, which blocks and cannot be interrupted; on a cluster it waits for the server's.

        Args:
            folder, spaces, checkpoint, sources, payload_fields, scan_up_to_kib, cluster: as for `create`.

        Yields:
            The index to fill, with `add`, `delete` and `extend`; closed when the block ends.

        Raises:
            IndexUnreadable, IndexInUse, ValueError, OSError: as for `create`.
        """
        manifest = Manifest.new(spaces, checkpoint, sources, payload_fields, scan_up_to_kib)
        address = cluster_address(folder, cluster)
        if address is not None:
            from diptych.search.remote_building import filling_remote

            with filling_remote(address, manifest, cluster, writable=False, overwrite=True) as store:
                index = cls(str(address), store, writable=True)
                try:
                    yield index
                finally:
                    index._store = None
            return
        manifest = dataclasses.replace(manifest, sealed=("sealed-0",))
        with filling(absolute(folder), manifest, overwrite=True) as (fresh, shard):
            index = cls(fresh, Shards(fresh, manifest, [Part("sealed-0", shard)]), writable=True)
            try:
                yield index
            finally:
                index._store = None  # its closing is part of what comes after the block

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        checkpoint: str | None = None,
        read_only: bool = False,
        write: bool = False,
        cluster: Cluster | None = None,
    ) -> "Index":
        """Open an index that was created or built before: to write to it if it was created, else to read it.

        Args:
            folder: where it lies, or its address on a cluster. The file system must be writable: the engine touches
                its files even to read.
            checkpoint: fingerprint of the checkpoint that will make the queries; None to leave it unchecked.
            read_only: refuse writes, and see what is sealed: the index as it was when the latest sealing that is done
                began. Any number of processes may, also while another writes.
            write: take writes though it was built; from then on it is as if it had been created.
            cluster: how a cluster is spoken to.

        Raises:
            WrongCheckpoint: if the index was made by another checkpoint.
            IndexUnreadable: if there is no index, it is half built or damaged, or a newer Diptych made it.
            IndexInUse: if it is to be written and is open for writing elsewhere; if it is being replaced right now.
            ValueError: if it is to be read only and to be written.
            OSError: if the system does not let it be read; on a cluster `IndexUnreachable` or `PermissionError`.
        """
        if read_only and write:
            raise ValueError("an index is opened read_only or to write, not both")
        address = cluster_address(folder, cluster)
        if address is not None:
            from diptych.search.remote import open_remote

            remote = open_remote(address, cluster, checkpoint=checkpoint)
            return cls(str(address), remote, writable=remote.manifest.live is not None and not read_only)
        store = open_shards(absolute(folder), checkpoint, write=True if write else False if read_only else None)
        return cls(absolute(folder), store, writable=store.writable)

    def add(self, ids: Sequence[str], vectors: Mapping[str, Given], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows; a row whose id is there already is replaced whole, and of equal ids the last stays.

        All rows are checked before any is written. A write that raises half way (no space left,
        Ctrl-C) may have kept some of the rows; adding them again puts it right.

        Args:
            ids: N texts, not empty.
            vectors: space -> N vectors, for every space of the index: `[N, D]` floats or integers up to 16 bits;
                N `Sparse` or pairs (indices, values); N arrays `[T_i, D]` (`unpadded` makes them of padded ones);
                or `[N, bits / 8]` uint8 as `np.packbits(bits, axis=1)` gives it.
            payloads: N dicts of what JSON can hold.

        Raises:
            ValueError: if ids, vectors or payloads do not fit; it names the row and what is wrong.
            IndexSealed: if the index was opened to be read.
            SealingFailed: if the live shard was full and could not be sealed; nothing was written, and nothing is lost.
            OSError: if the disk is full.
        """
        shard = self._for_writing()
        ids = check_ids(ids)
        arrays = check_vectors(ids, vectors, self.manifest.spaces)
        check_payloads(ids, payloads)
        shard.upsert(ids, arrays, payloads)

    def extend(self, other: "Index") -> int:
        """Add all rows of another index of the same spaces and checkpoint, vectors and all; returns how many.

        So a built index grows: build anew, `extend` from the earlier one, and `add` what is new.

        Raises:
            WrongCheckpoint: if the other's vectors are of another checkpoint.
            ValueError, IndexSealed, SealingFailed, OSError: as for `add`.
        """
        if other.manifest.checkpoint != self.manifest.checkpoint:
            raise WrongCheckpoint(other.place, kept=other.manifest.checkpoint, given=self.manifest.checkpoint)
        absent = sorted(set(self.manifest.spaces) - set(other.manifest.spaces))
        if absent:
            raise ValueError(f"{other.place} has no vectors of {absent}; it has {sorted(other.manifest.spaces)}")
        count = 0
        for records in other._opened().scroll(where=None, vectors=True):
            vectors = {name: [record.vectors[name] for record in records] for name in self.manifest.spaces}
            if records:
                self.add([record.id for record in records], vectors, [record.payload for record in records])
            count += len(records)
        return count

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows, and say how many; ids that are not there are passed over.

        Raises:
            ValueError, IndexSealed, SealingFailed, OSError: as for `add`.
        """
        return self._for_writing().delete(check_ids(ids))

    def search(
        self,
        vector: GivenVector,
        *,
        space: str = "dense",
        limit: int = 10,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[Hit]:
        """The nearest rows to one vector, nearest first.

        Args:
            vector: `[D]`, of any length in a cosine space; `Sparse`; `[T, D]`; or `[bits / 8]` uint8.
            space: which of the index's spaces to search.
            limit: how many hits at most, from 1.
            offset: how many of the nearest to pass over.
            where: what the payload must have; the forms are in `diptych.search.conditions`.
            exact: compare with every row, by its original vector, even where there is a graph or quantization.
            ef: rows of a graph that are kept in view while it is walked; more find more, and take longer. 128 if None.

        Returns:
            The page. In a lexical space a row whose score is 0 (it shares no term with the query) is not found.

        Raises:
            ValueError: if an argument is not as above; it says which and how.
        """
        row = self._one(vector, space)
        return self.search_batch(row, space=space, limit=limit, offset=offset, where=where, exact=exact, ef=ef)[0]

    def search_batch(
        self,
        vectors: Given,
        *,
        space: str = "dense",
        limit: int = 10,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """The nearest rows to each of Q vectors, given as to `add`: as Q calls of `search`, at about half the time.

        Raises:
            ValueError: as `search`; it names the row.
        """
        if limit < 1 or offset < 0:
            raise ValueError(f"limit is at least 1 and offset at least 0; found limit={limit}, offset={offset}")
        if ef is not None and ef < 1:
            raise ValueError(f"ef is at least 1; found {ef}")
        queries = check_rows(vectors, self._space(space), rows=None, what="query vectors")
        return self._opened().search(queries, space, limit=limit, offset=offset, where=where, exact=exact, ef=ef)

    def search_again(
        self,
        vector: GivenVector,
        again: GivenVector,
        *,
        space: str = "dense",
        other: str,
        keep: float = 0.0,
        depth: int = 100,
        limit: int = 10,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The nearest `depth` rows in one space, ranked by their exact scores in another.

        Args:
            vector: of `space`, as for `search`.
            again: of `other`.
            space, other: two of the index's spaces.
            keep: how many times the score in `space` is added to that in `other`.
            depth: how many are ranked again; also how far the pages reach.
            limit, offset, where, exact: as for `search`.

        Raises:
            ValueError: if an argument is not as above; it says which and how.
        """
        if depth < 1 or limit < 1 or offset < 0:
            raise ValueError(
                f"depth and limit are at least 1 and offset at least 0; found {depth=}, {limit=}, {offset=}"
            )
        queries = [
            check_rows(self._one(given, name), self._space(name), rows=None, what="query vectors")
            for given, name in ((vector, space), (again, other))
        ]
        return self._opened().search_again(
            queries[0],
            space,
            queries[1],
            other,
            depth=depth,
            keep=keep,
            limit=limit,
            offset=offset,
            where=where,
            exact=exact,
        )

    def score(self, ids: Sequence[str], vector: GivenVector, *, space: str = "dense") -> dict[str, float]:
        """The exact scores of these rows, and no others, against one vector.

        Args:
            ids: of the rows; those that are not there are left out.
            vector, space: as for `search`.

        Returns:
            id -> score, nearest first.

        Raises:
            ValueError: if an argument is not as above.
        """
        asked = list(dict.fromkeys(check_ids(ids)))
        if not asked:
            return {}
        query = check_rows(self._one(vector, space), self._space(space), rows=None, what="query vectors")
        scores = self._opened().score(query, space, asked)
        if self._space(space).kind == "lexical":
            # Engines give no rows of score 0.
            apart = [name for name in asked if name not in scores]
            scores |= {record.id: 0.0 for record in self.get(apart)} if apart else {}
        return dict(sorted(scores.items(), key=lambda item: -item[1]))

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record]:
        """The rows of these ids, in their order; ids that are not there are left out.

        Raises:
            ValueError: if ids are not texts.
        """
        return self._opened().get(check_ids(ids), vectors=vectors)

    def scroll(self, *, where: Mapping[str, object] | None = None, vectors: bool = False) -> Iterator[Record]:
        """All rows that `where` asks for, in an order that is always the same but means nothing."""
        for records in self._opened().scroll(where=where, vectors=vectors):
            yield from records

    def size(self) -> Sizes:
        """How many bytes the index takes on disk, by space.

        Raises:
            ValueError: if it lies on a cluster, which does not tell.
        """
        self._opened()
        return disk_sizes(self.folder, list(self.manifest.spaces))

    def seal(self, *, wait: bool = False) -> None:
        """Let readers see what was written, and search it by a graph if it is large; called by itself past 128 MiB.

        Another process makes a sealed shard of the live one, at low priority, for a second or a minute; searches and
        writes go on meanwhile. Where sealed shards are many, or a third of the rows of one are deleted, they are made
        anew with it.

        Args:
            wait: until it is done. Otherwise, and for what is sealed by itself, a failure is raised by the next call
                that writes, flushes or closes.

        Raises:
            IndexSealed: if the index was opened to be read.
            SealingFailed: if it could not be done; the rows are still there, and it may be called again.
            OSError: if the disk is full.
        """
        self._for_writing()
        store = self._shards("seal")
        if isinstance(store, WritableShards):  # what is being built is sealed in the end
            store.seal(wait=wait)

    def refresh(self) -> None:
        """See what has been sealed, or put in the index's place by `build`, since it was opened to be read.

        Raises:
            WrongCheckpoint: if another checkpoint made what is there now; the index is then as before.
            IndexUnreadable, OSError: as `open`.
        """
        store = self._shards("refresh")
        if not self._writable:
            self._store = open_shards(self.folder, self.manifest.checkpoint, write=False)
            store.close()

    def snapshot(self, folder: str | Path) -> None:
        """Copy the index as it is now into a folder, where it opens as an index of its own.

        Sealed shards are linked where the file system can, so that they take no room twice; the live one is copied,
        and writes wait meanwhile. What was opened to be read copies what it sees, also while another process writes.

        Args:
            folder: absent, or empty; parents are made.

        Raises:
            FileExistsError: if there is anything in it.
            ValueError: if the index was opened to be read and nothing of it is sealed.
            SealingFailed, OSError: as for `add`.
        """
        self._shards("snapshot").snapshot(absolute(folder))

    def flush(self) -> None:
        """Put all writes on the disk, so that they outlive a loss of power, and the count in the manifest.

        Raises:
            SealingFailed: if the live shard could not be sealed.
            OSError: if the disk is full.
        """
        store = self._opened()
        if self._writable:
            store.flush()

    def close(self) -> None:
        """Flush, wait for a sealing that is under way, and let go of the files; a second time does nothing.

        Raises:
            SealingFailed, OSError: as for `flush`; the index is closed all the same.
        """
        if self._store is None:
            return
        try:
            self.flush()
        finally:
            store = self._store
            try:
                store.close()
            finally:
                self._kept, self._store = store.manifest, None

    def __len__(self) -> int:
        return len(self._opened())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _space(self, name: str) -> Space:
        """The space of that name, if there is one."""
        if name not in self.manifest.spaces:
            raise ValueError(f"{self.place} has no space {name!r}; it has {sorted(self.manifest.spaces)}")
        return self.manifest.spaces[name]

    def _one(self, vector: GivenVector, space: str) -> Given:
        """One vector as a list of one."""
        return [vector] if self._space(space).kind in ("lexical", "late") else np.asarray(vector)[None]

    def _opened(self) -> Store:
        """The store, if it is open."""
        if self._store is None:
            raise ValueError(f"{self.place} is closed; open it again with Index.open")
        return self._store

    def _shards(self, what: str) -> Shards:
        """The store, if it is a folder's."""
        store = self._opened()
        if not isinstance(store, Shards):
            raise ValueError(f"{self.place} is no folder, so there is nothing to {what}")
        return store

    def _for_writing(self) -> Store:
        """The store, if it takes writes."""
        store = self._opened()
        if not self._writable:
            how = "" if isinstance(self.place, str) else "open it with Index.open(folder, write=True), or "
            raise IndexSealed(
                f"{self.place} was built whole, or opened to be read: {how}build it anew with Index.build and `extend` "
                f"it from this one"
            )
        return store
