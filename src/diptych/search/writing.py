"""An index that takes writes: sealed shards, one live shard, and the manifest that names them.

What the shards are changes in generations, each one replacement of the manifest:

    sealing begins    a new live shard; the one until now takes no more writes, and is searched on
    sealing ends      the shard that another process made of it comes in its place, and readers may see it

Readers see the sealed shards, and of the dead rows those that were dead when the last sealed shard began to be made:
the index as it was at that moment. A process that dies leaves the generation that it was in, and the next that opens
the index for writing begins its sealing again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from diptych.data.replacing import replacement
from diptych.search import shard as engine
from diptych.search.compaction import to_merge
from diptych.search.copying import copy_folder, link_folder
from diptych.search.errors import IndexUnreadable, SealingFailed
from diptych.search.holding import hold_shard, hold_writer, remove_unheld
from diptych.search.manifest import NAME, Manifest
from diptych.search.parts import Part
from diptych.search.points import point_id
from diptych.search.sealer import Sealer
from diptych.search.shard import ROWS_AT_ONCE, Shard
from diptych.search.shards import Shards, load_parts, require_free
from diptych.search.sizes import allocated
from diptych.search.stored import room_of
from diptych.search.tombstones import TombstoneLog, read_tombstones, write_tombstones
from diptych.search.vectors import Rows


class WritableShards(Shards):
    """All parts of an index, the live one last; made by `write`."""

    writable = True

    def __init__(self, folder: Path, manifest: Manifest, parts: Sequence[Part], log: TombstoneLog, lock: int) -> None:
        """Take the parts, the open file of their dead rows, and the handle that keeps other writers out."""
        super().__init__(folder, manifest, parts)
        self._log, self._lock = log, lock
        self._writing = threading.RLock()  # everything that changes anything
        self._sealer: Sealer | None = None
        self._waiter: threading.Thread | None = None
        self._again = False
        self._fault: SealingFailed | None = None
        # Bytes of vectors in the live part, by space.
        self._room = {
            space: allocated((folder / self._live.name).glob(f"segments/*/vector_storage-{space}"))
            for space in manifest.spaces
        }

    @classmethod
    def write(cls, folder: Path) -> WritableShards:
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
            parts = load_parts(folder, [*manifest.sealed, *frozen, manifest.live], manifest, dead)
            parts[-1].rows = None
            store = cls(folder, manifest, parts, TombstoneLog(path), lock)
        except BaseException:
            os.close(lock)
            raise
        there = {name: store._live.holding({point_id(one): one for one in ids}) for name, ids in unsure.items()}
        store._bury({name: ids for name, ids in there.items() if ids})
        if manifest.sealing:
            store._start()
        return store

    def upsert(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows, or replace those of the same ids; safe once it returned."""
        for start in range(0, len(ids), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            with self._writing:
                self._tell()
                self._add(ids[rows], {space: array[rows] for space, array in vectors.items()}, payloads[rows])
                if not self._sealer and max(self._room.values()) > 1024 * self._scan_up_to_kib:
                    self._begin()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        with self._writing:
            self._tell()
            points = {point_id(one): one for one in ids}
            gone = {part.name: part.holding(points) for part in self._frozen}
            self._bury({name: names for name, names in gone.items() if names})
            return sum(map(len, gone.values())) + self._live.shard.delete(ids)

    def flush(self) -> None:
        """Put all writes on the disk, and the count into the manifest."""
        with self._writing:
            self._tell()
            self._live.shard.flush()
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
            SealingFailed: if an earlier sealing failed.
            OSError: if it cannot be written.
        """
        with replacement(folder) as fresh, self._writing:
            require_free(folder)
            self.flush()
            for part in self._parts:
                copy = link_folder if part.name in self.manifest.sealed else copy_folder
                copy(self.folder / part.name, fresh / part.name)
            tombstones = self.manifest.tombstones or ""
            shutil.copyfile(self.folder / tombstones, fresh / tombstones)
            self.manifest.write(fresh)

    def close(self) -> None:
        """Wait for a sealing that is under way, and let go of all files.

        Raises:
            SealingFailed: if it failed.
        """
        try:
            self._join()
        except BaseException:  # Ctrl-C, while waiting
            if self._sealer:
                self._sealer.cancel()
            self._join()
            raise
        finally:
            with self._writing:
                super().close()
                self._log.close()
                with suppress(OSError):
                    _remove_unused(self.folder, self.manifest)
                os.close(self._lock)
        self._tell()

    @property
    def _frozen(self) -> list[Part]:
        """The parts that take none."""
        return [part for part in self._parts if part.rows is not None]

    @property
    def _scan_up_to_kib(self) -> int:
        return self.manifest.scan_up_to_kib or engine.SCAN_UP_TO_KIB

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
        if moving:
            self._log.moving(moving)
        try:
            self._live.shard.upsert(ids, vectors, payloads)
        except BaseException:
            there = self._live.holding(points)
            self._bury({name: names & there for name, names in moving.items()})
            raise
        if moving:
            self._log.moved()
        self._mark(moving)
        for space, rows in vectors.items():
            self._room[space] = self._room.get(space, 0) + room_of(rows)

    def _bury(self, dead: Mapping[str, set[str]]) -> None:
        """These rows of frozen parts are dead; safe once it returned."""
        if dead:
            self._log.dead(dead)
        self._mark(dead)

    def _mark(self, dead: Mapping[str, set[str]]) -> None:
        for part in self._parts:
            if names := dead.get(part.name):
                part.dead |= names

    def _begin(self) -> None:
        """Go on in a new live shard and let the one until now be sealed; without rows in it, publish what is dead."""
        sealed = {part.name: (part.rows or 0, len(part.dead)) for part in self._frozen}
        sealing = [] if self._live.shard.empty else [self._live.name]
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
        if not live.shard.empty:
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
        if fresh.rows:
            others.append(fresh)
        else:
            fresh.close()
        self._publish(published, others)
        self._retire(made_of)
        _remove_unused(self.folder, self.manifest)

    def _publish(self, published: Mapping[str, Set[str]], frozen: Sequence[Part]) -> None:
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
        self._log.close()
        self._log = log
        with self._using:
            self._parts = (*frozen, self._live)


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
