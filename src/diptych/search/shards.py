"""An index as a store: sealed shards, one live shard that takes the writes, and the manifest that names them.

A row is alive in one part only. Added anew, it goes to the live shard and is dead in the part that had it; so hits of
all parts can be put together by score and id, and counts summed. What the shards are changes in generations, each one
replacement of the manifest:

    sealing begins    a new live shard; the one until now takes no more writes, and is searched on
    sealing ends      the shard that another process made of it comes in its place, and readers may see it

Readers see the sealed shards, and of the dead rows those that were dead when the last sealed shard began to be made:
the index as it was at that moment.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from diptych.data.replacing import replacement
from diptych.search import shard as engine
from diptych.search.compaction import to_merge
from diptych.search.copying import copy_folder, link_folder
from diptych.search.errors import IndexUnreadable, SealingFailed
from diptych.search.filters import to_filter
from diptych.search.holding import hold_shard, hold_writer, remove_unheld
from diptych.search.manifest import NAME, Manifest
from diptych.search.parts import Part
from diptych.search.points import Hit, Record, point_id
from diptych.search.sealer import Sealer
from diptych.search.shard import ROWS_AT_ONCE, Shard
from diptych.search.sizes import allocated
from diptych.search.stored import room_of
from diptych.search.tombstones import Dead, TombstoneLog, read_tombstones, write_tombstones
from diptych.search.vectors import Rows


class Shards:
    """The parts of an index; made by `read` or `write`, or around one shard that is being filled.

    Attributes:
        folder: of the index.
        manifest: of the generation that is open.
    """

    def __init__(self, folder: Path, manifest: Manifest, parts: Sequence[Part]) -> None:
        """Take parts, oldest first, the live one last if there is one."""
        self.folder, self.manifest = folder, manifest
        self._parts: tuple[Part, ...] = tuple(parts)
        self._using = threading.Lock()  # the counts of users, and which parts there are
        self._writing = threading.RLock()  # everything that changes anything
        self._log: TombstoneLog | None = None
        self._lock: int | None = None
        self._room: dict[str, int] = {}
        self._sealer: Sealer | None = None
        self._waiter: threading.Thread | None = None
        self._again = False
        self._fault: SealingFailed | None = None

    @classmethod
    def read(cls, folder: Path, manifest: Manifest) -> Shards:
        """The sealed parts, as `manifest` has them.

        Raises:
            IndexUnreadable, OSError: if they cannot be read, or are gone since the manifest was read.
        """
        dead: Dead = {}
        if manifest.tombstones is not None:
            dead, _ = read_tombstones(folder / manifest.tombstones, manifest.published)
        return cls(folder, manifest, _load(folder, manifest.sealed, manifest, dead))

    @classmethod
    def write(cls, folder: Path) -> Shards:
        """All parts; whatever an earlier process left undone is done or cleared.

        Raises:
            IndexInUse: if it is open for writing elsewhere.
            IndexUnreadable, OSError: if it cannot be read or written.
        """
        lock = hold_writer(folder)
        try:
            manifest = _writable(folder, Manifest.read(folder))
            assert manifest.live is not None and manifest.tombstones is not None
            _remove_unused(folder, manifest)
            path = folder / manifest.tombstones
            dead, unsure = read_tombstones(path)
            frozen = [name for name in manifest.sealing if name not in manifest.sealed]
            parts = _load(folder, [*manifest.sealed, *frozen, manifest.live], manifest, dead)
        except BaseException:
            os.close(lock)
            raise
        store = cls(folder, manifest, parts)
        store._lock, store._log = lock, TombstoneLog(path)
        store._live.rows = None
        store._room = {
            space: allocated((folder / manifest.live).glob(f"segments/*/vector_storage-{space}"))
            for space in manifest.spaces
        }
        there = {name: store._live.holding({point_id(one): one for one in ids}) for name, ids in unsure.items()}
        store._bury({name: ids for name, ids in there.items() if ids})
        if manifest.sealing:
            store._start()
        return store

    def __len__(self) -> int:
        with self._pinned() as parts:
            return sum(map(len, parts))

    def upsert(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows, or replace those of the same ids; safe once it returned."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            with self._writing:
                self._tell()
                self._add(ids[rows], {space: array[rows] for space, array in vectors.items()}, payloads[rows])
                if self._log and not self._sealer and max(self._room.values()) > 1024 * self._scan_up_to_kib:
                    self._begin()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        with self._writing:
            self._tell()
            points = {point_id(one): one for one in ids}
            gone = {part.name: part.holding(points) for part in self._frozen}
            self._bury({name: names for name, names in gone.items() if names})
            return sum(map(len, gone.values())) + self._live.shard.delete(ids)

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
    ) -> list[list[Hit]]:
        """The nearest rows to each query in the space `name`; equal scores are settled by id."""
        with self._pinned() as parts:
            asked = [part for part in parts if not part.empty]
            if len(asked) == 1:
                return asked[0].search(queries, name, limit=limit, offset=offset, where=where, among=among, exact=exact)
            answers = [
                part.search(queries, name, limit=offset + limit, where=where, among=among, exact=exact)
                for part in asked
            ]
        if not answers:
            to_filter(where)  # a wrong filter is told even where there is nothing to filter
            return [[] for _ in queries]
        return [_merged(pages)[offset : offset + limit] for pages in zip(*answers, strict=True)]

    def get(self, ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """The rows of these ids, in their order, without those that are not there."""
        with self._pinned() as parts:
            found = {record.id: record for part in parts for record in part.get(ids, vectors=vectors)}
        return [found[one] for one in ids if one in found]

    def scroll(self, *, where: Mapping[str, object] | None, vectors: bool) -> Iterator[list[Record]]:
        """All rows that `where` asks for, some at a time.

        Of a row that is replaced meanwhile either the earlier or the later comes, never both.
        """
        to_filter(where)
        with self._pinned() as parts:
            frozen = [part for part in parts if part.rows is not None]
            before = {part.name: frozenset(part.dead) for part in parts}
            for part in parts:
                for records in part.shard.scroll(where=where, vectors=vectors):
                    left_out = before[part.name]
                    if part not in frozen:  # what was replaced since then has come already, as it was
                        left_out = left_out.union(*(one.dead - before[one.name] for one in frozen))
                    yield [record for record in records if record.id not in left_out]

    def flush(self) -> None:
        """Put all writes on the disk, and the count into the manifest."""
        with self._writing:
            self._tell()
            if not self._parts or self._live.rows is not None:
                return
            self._live.shard.flush()
            if self._log:
                self._log.sync()
            if len(self) != self.manifest.count:
                self._become()

    def seal(self, *, wait: bool) -> None:
        """Make a sealed shard of the live one, as `Index.seal` describes it.

        Raises:
            SealingFailed: if an earlier sealing failed, or this one did and `wait` is true.
            OSError: if the disk is full.
        """
        with self._writing:
            self._tell()
            if self._sealer:
                self._again = True
            else:
                self._begin()
        if wait:
            self._join()
            with self._writing:
                self._tell()

    def snapshot(self, folder: Path) -> None:
        """Copy all parts as they are now into `folder`, as `Index.snapshot` describes it.

        Raises:
            FileExistsError: if there is anything in `folder`.
            OSError: if it cannot be written.
        """
        with replacement(folder) as fresh, self._writing:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise FileExistsError(f"{folder} exists; a snapshot goes into a folder that is not there, or empty")
            self.flush()
            for part in self._parts:
                copy = link_folder if part.name in self.manifest.sealed else copy_folder
                copy(self.folder / part.name, fresh / part.name)
            manifest = self.manifest
            if self._log:
                assert manifest.tombstones is not None
                shutil.copyfile(self.folder / manifest.tombstones, fresh / manifest.tombstones)
            elif manifest.tombstones is not None:
                published = write_tombstones(fresh / manifest.tombstones, {one.name: one.dead for one in self._parts})
                manifest = dataclasses.replace(manifest, sealing=(), live=None, frozen=0, published=published)
            if not self._log and not self._parts:
                raise ValueError(f"{self.folder} has nothing sealed to copy; `seal` it where it is open for writing")
            manifest.write(fresh)

    def close(self) -> None:
        """Wait for a sealing that is under way, and let go of all files.

        Raises:
            SealingFailed: if it failed.
        """
        try:
            self._join()
        except BaseException:
            if self._sealer:
                self._sealer.cancel()
            self._join()
            raise
        finally:
            with self._writing:
                parts, self._parts = self._parts, ()
                self._retire(parts)
                if self._log:
                    self._log.close()
                if self._lock is not None:
                    with suppress(OSError):
                        _remove_unused(self.folder, self.manifest)
                    os.close(self._lock)
                self._log = self._lock = None
        self._tell()

    @property
    def writable(self) -> bool:
        """Whether it takes writes."""
        return self._lock is not None

    @property
    def _live(self) -> Part:
        """The part that takes writes."""
        return self._parts[-1]

    @property
    def _frozen(self) -> list[Part]:
        """The parts that take none."""
        return [part for part in self._parts if part.rows is not None]

    @property
    def _scan_up_to_kib(self) -> int:
        return self.manifest.scan_up_to_kib or engine.SCAN_UP_TO_KIB

    @contextmanager
    def _pinned(self) -> Iterator[tuple[Part, ...]]:
        """The parts, which stay open until the block ends."""
        with self._using:
            parts = self._parts
            for part in parts:
                part.users += 1
        try:
            yield parts
        finally:
            with self._using:
                for part in parts:
                    part.users -= 1
                done = [part for part in parts if part.retired and not part.users]
            for part in done:
                part.close()

    def _retire(self, parts: Sequence[Part]) -> None:
        """Close parts that are no longer in `_parts`, when their last search is over."""
        with self._using:
            for part in parts:
                part.retired = True
            done = [part for part in parts if not part.users]
        for part in done:
            part.close()

    def _tell(self) -> None:
        """Raise what went wrong in sealing, once."""
        fault, self._fault = self._fault, None
        if fault:
            raise fault

    def _become(self, **changes: Any) -> None:
        """Change the manifest, and have the count of now in it."""
        manifest = dataclasses.replace(self.manifest, count=len(self), **changes)
        manifest.write(self.folder)
        self.manifest = manifest

    def _add(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows to the live part; in the part that had one of them it is dead from then on."""
        points = {point_id(one): one for one in ids} if self._frozen else {}
        moving = {part.name: names for part in self._frozen if (names := part.holding(points))}
        if moving and self._log:
            self._log.moving(moving)
        try:
            self._live.shard.upsert(ids, vectors, payloads)
        except BaseException:
            there = self._live.holding(points)
            self._bury({name: names & there for name, names in moving.items()})
            raise
        if moving and self._log:
            self._log.moved()
        self._mark(moving)
        for space, rows in vectors.items():
            self._room[space] = self._room.get(space, 0) + room_of(rows)

    def _bury(self, dead: Mapping[str, set[str]]) -> None:
        """These rows of frozen parts are dead; safe once it returned."""
        if dead and self._log:
            self._log.dead(dead)
        self._mark(dead)

    def _mark(self, dead: Mapping[str, set[str]]) -> None:
        for part in self._parts:
            part.dead |= dead.get(part.name, set())

    def _begin(self) -> None:
        """Go on in a new live shard and let the one until now be sealed; without rows in it, publish what is dead."""
        assert self._log is not None
        sealed = {part.name: (part.rows or 0, len(part.dead)) for part in self._frozen}
        sealing = [] if self._live.empty else [self._live.name]
        sealing += [name for name in self.manifest.sealing or to_merge(sealed) if name not in sealing]
        if self.manifest.sealing:  # an earlier sealing failed: the same again, and the live shard after it
            self._again = True
            self._start()
            return
        if not sealing:
            published, _ = read_tombstones(self.folder / (self.manifest.tombstones or ""), self.manifest.published)
            if any(part.dead != published.get(part.name, set()) for part in self._frozen):
                self._publish({part.name: part.dead for part in self._frozen}, self._frozen)
                _remove_unused(self.folder, self.manifest)
            return
        self._live.shard.flush()
        self._log.sync()
        generation, parts, live = self.manifest.generation + 1, self._parts, self._live
        if not live.empty:
            name = f"live-{generation}"
            parts = (*parts, _new_live(self.folder, name, self.manifest))
        try:
            self._become(generation=generation, live=parts[-1].name, sealing=tuple(sealing), frozen=self._log.size)
        except BaseException:
            self._retire(parts[len(self._parts) :])
            raise
        if parts is not self._parts:
            live.rows = len(live.shard)
            self._room = {}
            with self._using:
                self._parts = parts
        self._start()

    def _start(self) -> None:
        """Have another process make the sealed shard, and a thread wait for it."""
        name = f"sealed-{self.manifest.generation}-{uuid4().hex[:8]}"
        sealer = self._sealer = Sealer(self.folder, name, self._scan_up_to_kib)
        self._waiter = threading.Thread(target=self._await, args=(sealer,), daemon=True, name=f"sealing {self.folder}")
        self._waiter.start()

    def _await(self, sealer: Sealer) -> None:
        """Wait for the sealing process, and take in what it made."""
        fault: object = sealer.wait()
        with self._writing:
            self._sealer = None
            if sealer.cancelled:
                return
            try:
                if fault is None:
                    self._adopt(sealer.name)
                    if self._again:
                        self._again = False
                        self._begin()
            except Exception as error:
                fault = error
            if fault is not None:
                self._fault = SealingFailed(
                    f"the live shard of {self.folder} could not be sealed: {fault}. No row is lost; it is tried again "
                    f"with the next `seal`, when the live shard is full, and when the index is opened for writing"
                )

    def _join(self) -> None:
        """Wait until nothing is being sealed."""
        while (waiter := self._waiter) is not None:
            waiter.join()
            with self._writing:
                if self._waiter is waiter:
                    self._waiter = None

    def _adopt(self, name: str) -> None:
        """Put the shard that was made in the place of those that it was made of, and let readers see it."""
        path = self.folder / (self.manifest.tombstones or "")
        at_start, _ = read_tombstones(path, self.manifest.frozen)
        made_of = [part for part in self._frozen if part.name in self.manifest.sealing]
        others = [part for part in self._frozen if part.name not in self.manifest.sealing]
        died = [part.dead - at_start.get(part.name, set()) for part in made_of]
        expected = sum((part.rows or 0) - len(at_start.get(part.name, ())) for part in made_of)
        fresh = Part.load(self.folder, name, self.manifest.spaces, set().union(*died))
        if fresh.rows != expected:
            fresh.close()
            raise IndexUnreadable(f"{self.folder / name} has {fresh.rows} rows where {expected} were expected")
        published = {part.name: at_start.get(part.name, set()) for part in others}
        self._publish(published, [*others, fresh])
        self._retire(made_of)
        _remove_unused(self.folder, self.manifest)

    def _publish(self, published: Mapping[str, set[str]], frozen: Sequence[Part]) -> None:
        """Begin a generation of these sealed parts, in which readers leave out the `published` dead rows."""
        generation = self.manifest.generation + 1
        path = self.folder / f"tombstones-{generation}.jsonl"
        later = {part.name: part.dead - published.get(part.name, set()) for part in frozen}
        size = write_tombstones(path, published, later)
        sealed = tuple(part.name for part in frozen)
        log = TombstoneLog(path)
        try:
            self._become(
                generation=generation, sealed=sealed, sealing=(), tombstones=path.name, published=size, frozen=0
            )
        except BaseException:
            log.close()
            raise
        earlier, self._log = self._log, log
        if earlier:
            earlier.close()
        with self._using:
            self._parts = (*frozen, self._live)


def _load(folder: Path, names: Sequence[str], manifest: Manifest, dead: Mapping[str, set[str]]) -> list[Part]:
    """These parts, in order."""
    parts: list[Part] = []
    try:
        for name in names:
            parts.append(Part.load(folder, name, manifest.spaces, dead.get(name)))
    except BaseException:
        for part in parts:
            part.close()
        raise
    return parts


def _new_live(folder: Path, name: str, manifest: Manifest) -> Part:
    """A new live part, in the place of what a process that died may have left there."""
    shutil.rmtree(folder / name, ignore_errors=True)
    shard = Shard.create(folder / name, manifest.spaces, manifest.payload_fields, log=True)
    return Part(name, shard, handle=hold_shard(folder / name))


def _writable(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest, with a live shard and a file of tombstones, both made if need be."""
    if manifest.live is not None and manifest.tombstones is not None:
        return manifest
    generation = manifest.generation + 1
    live = manifest.live
    if live is None:
        live = f"live-{generation}"
        _new_live(folder, live, manifest).close()
    tombstones, published = manifest.tombstones, manifest.published
    if tombstones is None:
        tombstones = f"tombstones-{generation}.jsonl"
        published = write_tombstones(folder / tombstones, {})
    manifest = dataclasses.replace(
        manifest, generation=generation, live=live, tombstones=tombstones, published=published
    )
    manifest.write(folder)
    return manifest


def _remove_unused(folder: Path, manifest: Manifest) -> None:
    """Remove what earlier generations, and processes that died, left in the folder, if nobody has it open."""
    used = {*manifest.sealed, *manifest.sealing, manifest.live, manifest.tombstones}
    for path in folder.iterdir():
        if path.name in used:
            continue
        if path.is_dir() and path.name.startswith(("sealed-", "live", ".sealed-")):
            remove_unheld(path)
        elif path.name.startswith(("tombstones-", f".{NAME}.")):
            path.unlink(missing_ok=True)


def _merged(pages: Sequence[list[Hit]]) -> list[Hit]:
    """Hits of several parts as one ranking; of a row that is just being replaced, the newest part's."""
    hits = {hit.id: hit for page in pages for hit in page}
    return sorted(hits.values(), key=lambda hit: (-hit.score, hit.id))
