"""Sealed shards and a live one answer as one index: against a dict and brute force, whatever is done in which order."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from search_rows import CHECKPOINT, SPACES, Rows, names

from diptych.search import Index, IndexInUse, IndexSealed, SealingFailed, Space, WrongCheckpoint, sealing, writing
from diptych.search.copying import copy_folder
from diptych.search.manifest import Manifest
from diptych.search.shard import Shard
from diptych.search.tombstones import TombstoneLog
from diptych.search.writing import WritableShards

MIXED = {"dense": Space(3, "dot"), "code": Space(4, "hamming", "code"), "lexical": Space(5, "dot", "lexical")}
NAMES = [f"{i:02}" for i in range(12)]
# Whole numbers, so that scores are exact and many are equal.
QUERIES: dict[str, Any] = {
    "dense": np.array([1.0, 2.0, -1.0]),
    "code": np.packbits([1, 0, 1, 1]),
    "lexical": ([0, 2, 3], [1.0, 1.0, 2.0]),
}


class SealedHere:
    """In the place of the sealing process: its work is done in this one, when it is let go."""

    waiting: ClassVar["list[SealedHere]"] = []

    def __init__(self, folder: Path, name: str, scan_up_to_kib: int) -> None:
        self.folder, self.name, self.kib = folder, name, scan_up_to_kib
        self.cancelled, self.go = False, threading.Event()
        self.fault: str | None = None
        self.waiting.append(self)

    def wait(self) -> str | None:
        if not self.go.wait(timeout=10):
            return "it was never let go"
        if not self.cancelled and self.fault is None:
            sealing.seal(self.folder, self.name, self.kib)
        return self.fault

    def cancel(self) -> None:
        self.cancelled = True
        self.go.set()


@pytest.fixture(autouse=True)
def sealed_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SealedHere]]:
    """Those that wait to be let go."""
    monkeypatch.setattr(writing, "Sealer", SealedHere)
    # No power is lost here, and waiting for the disk is most of the time that a small index takes.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    SealedHere.waiting = []
    yield SealedHere.waiting
    for one in SealedHere.waiting:
        one.cancel()


def let_go() -> None:
    """Let what is being sealed be sealed; the next call that waits finds it done."""
    while SealedHere.waiting:
        SealedHere.waiting.pop(0).go.set()


def row(version: int) -> dict[str, Any]:
    """The vectors of a row in each space, as arrays to compute with."""
    random = np.random.default_rng(version)
    return {
        "dense": random.integers(-2, 3, 3).astype(np.float32),
        "code": random.integers(0, 2, 4),
        "lexical": (random.integers(1, 4, 5) * (random.random(5) < 0.6)).astype(np.float32),
    }


def ranking(truth: dict[str, int], space: str, keep: Any = lambda _: True) -> list[tuple[str, float]]:
    """Ids and scores by brute force, equals by id; in a lexical space those that score anything."""
    scores: dict[str, float] = {}
    for name, version in truth.items():
        vector = row(version)[space]
        if space == "code":
            scores[name] = -float((vector != np.array([1, 0, 1, 1])).sum())
        elif space == "dense":
            scores[name] = float(vector @ np.array([1, 2, -1]))
        else:
            scores[name] = float(vector @ np.array([1, 0, 1, 2, 0]))
    shown = {name: s for name, s in scores.items() if keep(truth[name]) and (s or space != "lexical")}
    return sorted(shown.items(), key=lambda pair: (-pair[1], pair[0]))


def add(index: Index, some: list[str], versions: list[int]) -> None:
    rows = [row(version) for version in versions]
    given = {
        "dense": np.array([one["dense"] for one in rows]),
        "code": np.packbits([one["code"] for one in rows], axis=1),
        "lexical": [(np.flatnonzero(one["lexical"]), one["lexical"][np.flatnonzero(one["lexical"])]) for one in rows],
    }
    index.add(some, given, [{"v": version, "even": version % 2 == 0} for version in versions])


def agree(index: Index, truth: dict[str, int]) -> None:
    """The index answers every question as the dict does."""
    assert len(index) == len(truth)
    found = index.get([*NAMES, "nowhere"])
    assert [(one.id, one.payload["v"]) for one in found] == [(name, truth[name]) for name in NAMES if name in truth]
    assert sorted(one.id for one in index.scroll()) == sorted(truth)
    assert sorted(one.id for one in index.scroll(where={"even": True})) == sorted(
        name for name, version in truth.items() if version % 2 == 0
    )
    for space, query in QUERIES.items():
        expected = ranking(truth, space)
        hits = index.search(query, space=space, limit=50)
        assert [(hit.id, hit.score, hit.payload["v"]) for hit in hits] == [(*pair, truth[pair[0]]) for pair in expected]
        pages = [index.search(query, space=space, limit=3, offset=offset) for offset in range(0, 15, 3)]
        assert [hit.id for page in pages for hit in page] == [name for name, _ in expected]
        filtered = index.search(query, space=space, limit=4, where={"even": True}, exact=True)
        assert names(filtered) == [name for name, _ in ranking(truth, space, lambda v: v % 2 == 0)][:4]
        some = NAMES[::2]
        scores = index.score([*some, "nowhere"], query, space=space)
        whole = dict(ranking(truth, space))
        assert scores == {name: whole.get(name, 0.0) for name in some if name in truth}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True)),
        st.tuples(st.just("delete"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["begin", "finish", "seal", "reopen", "die"]), st.just([])),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(STEPS)
def test_any_order_of_writes_and_sealings_and_deaths(steps: list[tuple[str, list[str]]]) -> None:
    SealedHere.waiting = []
    root = Path(tempfile.mkdtemp())
    index = Index.create(root / "0", MIXED, checkpoint=CHECKPOINT)
    truth: dict[str, int] = {}
    version = 0
    try:
        for number, (step, some) in enumerate(steps):
            if step == "add":
                versions = list(range(version, version := version + len(some)))
                add(index, some, versions)
                truth |= dict(zip(some, versions, strict=True))
            elif step == "delete":
                assert index.delete(some) == len(set(some) & set(truth))
                truth = {name: kept for name, kept in truth.items() if name not in some}
            elif step == "begin":
                index.seal()
            elif step in ("finish", "seal"):
                if step == "seal":
                    index.seal()
                finish(index)
                if step == "seal":
                    with Index.open(index.folder, read_only=True) as reader:
                        agree(reader, truth)
            elif step == "reopen":
                for one in SealedHere.waiting:
                    one.go.set()
                while_closing(index)
                index = Index.open(index.folder)
            else:
                # What a process leaves that is killed now is what lies in the folder now.
                copy_folder(index.folder, root / f"{number} died")
                for one in SealedHere.waiting:
                    one.cancel()
                while_closing(index)
                index = Index.open(root / f"{number} died")
            agree(index, truth)
    finally:
        for one in SealedHere.waiting:
            one.cancel()
        while_closing(index)
        shutil.rmtree(root)


def shards_of(index: Index) -> WritableShards:
    assert isinstance(index._store, WritableShards)
    return index._store


def finish(index: Index) -> None:
    """Let go of sealings until there are none; one that was asked for meanwhile begins when that before it is done."""
    while (waiter := shards_of(index)._waiter) is not None and waiter.is_alive():
        let_go()
        waiter.join(0.01)


def while_closing(index: Index) -> None:
    """Close, letting go of sealings as they begin."""
    closing = threading.Thread(target=index.close)
    closing.start()
    while closing.is_alive():
        let_go()
        closing.join(0.01)


def add_all(index: Index, rows: Rows) -> None:
    index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)


def seal(index: Index) -> None:
    index.seal()
    finish(index)


def test_readers_see_what_was_sealed_as_it_was(live: Index, rows: Rows, queries: Any) -> None:
    add_all(live, rows)
    seal(live)
    with Index.open(live.folder, read_only=True) as one, Index.open(live.folder, read_only=True) as two:
        before = one.search(queries[0], limit=300)
        live.add(["row 3"], {"dense": queries[:1]}, [{"new": True}])
        live.delete(["row 4"])
        live.seal()  # not done yet
        live.add(["row 5", "late"], {"dense": queries[:2]}, [{}, {}])
        one.refresh()
        assert one.search(queries[0], limit=300) == two.search(queries[0], limit=300) == before
        finish(live)
        one.refresh()
        assert two.search(queries[0], limit=300) == before, "an open reader keeps what it has"
        assert one.search(queries[0], limit=1)[0].payload == {"new": True}
        assert names(one.search(queries[0], limit=300)).count("row 3") == 1
        assert [record.payload for record in one.get(["row 4", "row 5", "late"])] == [rows.payloads[5]]
        assert len(one) == 199 and len(live) == 200
        with pytest.raises(IndexSealed, match="opened to be read"):
            one.seal()
    seal(live)
    with Index.open(live.folder, read_only=True) as three:
        assert len(three) == 200 == three.manifest.count


def test_what_readers_have_open_is_removed_after_them(live: Index, rows: Rows) -> None:
    add_all(live, rows)
    seal(live)
    (first,) = live.manifest.sealed
    with Index.open(live.folder, read_only=True) as reader:
        live.delete(rows.ids[:100])
        seal(live)
        assert first not in live.manifest.sealed, "over a third of its rows were dead"
        assert (live.folder / first).is_dir()
        assert len(reader) == 200 and len(reader.search(rows.vectors[0], limit=200)) == 200
    live.add(["new"], {"dense": rows.vectors[:1]}, [{}])
    seal(live)
    assert not (live.folder / first).exists()
    assert {path.name for path in live.folder.iterdir()} == {
        *live.manifest.sealed,
        live.manifest.live,
        live.manifest.tombstones,
        "manifest.json",
        "writer.lock",
    }


def test_many_small_shards_become_one(live: Index, rows: Rows, queries: Any) -> None:
    for i in range(10):
        live.add(rows.ids[i * 20 : i * 20 + 20], {"dense": rows.vectors[i * 20 : i * 20 + 20]}, [{}] * 20)
        seal(live)
    assert len(live.manifest.sealed) == 1
    assert names(live.search(queries[0], limit=200)) == [name for name, _ in rows.nearest(queries[0])]


def test_deletes_alone_are_published(live: Index, rows: Rows) -> None:
    add_all(live, rows)
    seal(live)
    live.delete(["row 1"])
    live.seal()
    assert not SealedHere.waiting, "nothing is to be copied"
    with Index.open(live.folder, read_only=True) as reader:
        assert len(reader) == 199 and reader.get(["row 1"]) == []


def test_a_built_index_takes_writes_when_told(built: Path, rows: Rows, queries: Any) -> None:
    with Index.open(built) as reader, Index.open(built, write=True) as index:
        index.add(["row 7", "new"], {"dense": queries[:2]}, [{}, {}])
        assert index.delete(["row 9"]) == 1
        assert names(index.search(queries[0], limit=1)) == ["row 7"]
        with pytest.raises(IndexInUse, match="index takes writes and is open elsewhere"):
            Index.open(built, write=True)
        with pytest.raises(IndexInUse), Index.build(built, SPACES, checkpoint=CHECKPOINT):
            pass
        assert len(reader) == 200 and len(index) == 200
    with Index.open(built) as again:
        assert len(again) == 200 and again.get(["row 9"]) == []
        again.add(["newer"], {"dense": queries[:1]}, [{}])
    with pytest.raises(ValueError, match="not both"):
        Index.open(built, read_only=True, write=True)


def test_readers_go_on_while_another_index_takes_the_place(live: Index, rows: Rows, queries: Any) -> None:
    add_all(live, rows)
    seal(live)
    folder = live.folder
    with Index.open(folder, read_only=True) as one, Index.open(folder, read_only=True) as two:
        before = one.search(queries[0], limit=200)
        live.close()
        with Index.build(folder, SPACES, checkpoint=CHECKPOINT) as fresh:
            fresh.extend(one)
            fresh.add(["new"], {"dense": queries[:1]}, [{}])
        assert two.search(queries[0], limit=200) == before
        one.refresh()
        assert names(one.search(queries[0], limit=2)) == ["new", before[0].id]
        with Index.build(folder, SPACES, checkpoint="ffff"):
            pass
        with pytest.raises(WrongCheckpoint):
            one.refresh()
        assert len(one) == 201


@pytest.mark.parametrize("when", ["before", "sealing", "after"])
def test_a_snapshot_is_an_index_of_its_own(live: Index, rows: Rows, queries: Any, tmp_path: Path, when: str) -> None:
    add_all(live, rows)
    if when != "before":
        live.seal()
    live.delete(["row 1"])
    if when == "after":
        finish(live)
    live.add(["new"], {"dense": queries[:1]}, [{"n": 1}])
    expected = live.search(queries[0], limit=300)
    live.snapshot(tmp_path / "deep" / "copy")
    live.delete(rows.ids)
    with Index.open(tmp_path / "deep" / "copy", checkpoint=CHECKPOINT) as copy:
        assert copy.search(queries[0], limit=300) == expected
        seal(copy)
        copy.add(["newer"], {"dense": queries[:1]}, [{}])
        assert len(copy) == 201
    assert len(live) == 1
    with pytest.raises(FileExistsError, match="a snapshot goes into a folder that is not there"):
        live.snapshot(tmp_path / "deep" / "copy")


def test_a_reader_can_copy_what_it_sees(live: Index, rows: Rows, tmp_path: Path) -> None:
    add_all(live, rows)
    with Index.open(live.folder, read_only=True) as reader, pytest.raises(ValueError, match="nothing sealed to copy"):
        reader.snapshot(tmp_path / "copy")
    seal(live)
    live.delete(rows.ids[:10])
    live.seal()
    with Index.open(live.folder, read_only=True) as reader:
        live.delete(rows.ids)
        reader.snapshot(tmp_path / "copy")
    with Index.open(tmp_path / "copy") as copy:
        assert len(copy) == 190 and copy.get(["row 3"]) == []
        with pytest.raises(IndexSealed):
            copy.delete(["row 20"])
    linked = [path for path in (tmp_path / "copy").rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    assert linked, "sealed files take no room twice"


def test_scrolling_gives_each_row_once_while_rows_are_replaced(live: Index, rows: Rows) -> None:
    add_all(live, rows)
    seal(live)
    live.add(["row 0", "new"], {"dense": rows.vectors[:2]}, [{}, {}])
    seen = []
    for record in live.scroll():
        if not seen:
            live.add(rows.ids[100:], {"dense": rows.vectors[100:]}, rows.payloads[100:])
        seen.append(record.id)
    assert sorted(seen) == sorted([*rows.ids, "new"])


def test_a_write_that_fails_leaves_the_earlier_rows(live: Index, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    add_all(live, rows)
    seal(live)

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(Shard, "upsert", fails)
        with pytest.raises(OSError, match="No space"):
            live.add(["row 3"], {"dense": rows.vectors[:1]}, [{"lost": True}])
    assert live.get(["row 3"])[0].payload == rows.payloads[3]
    live.close()
    with Index.open(live.folder) as again:
        assert again.get(["row 3"])[0].payload == rows.payloads[3] and len(again) == 200


def test_a_sealing_that_fails_is_told_and_tried_again(live: Index, rows: Rows) -> None:
    add_all(live, rows)
    live.seal()
    SealedHere.waiting[0].fault = "OSError: no space left"
    finish(live)
    assert len(live.search(rows.vectors[0], limit=300)) == 200
    for attempt in (lambda: live.delete(["row 1"]), live.flush):
        if attempt == live.flush:
            live.seal()
            SealedHere.waiting[0].fault = "OSError: no space left"
            finish(live)
        with pytest.raises(SealingFailed, match=r"live could not be sealed: OSError: no space left\. No row is"):
            attempt()
    assert len(live) == 200
    live.delete(["row 1"])
    seal(live)
    with Index.open(live.folder, read_only=True) as reader:
        assert len(reader) == 199


def test_threads_search_while_another_writes_and_seals(live: Index, rows: Rows) -> None:
    add_all(live, rows)
    faults: list[object] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                hits = names(live.search(rows.vectors[0], limit=300))
                assert len(hits) == len(set(hits)) == 200, "no row is ever missing, or there twice"
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for i in range(6):
            live.seal()
            live.add(rows.ids[i * 30 :], {"dense": rows.vectors[i * 30 :]}, rows.payloads[i * 30 :])
            finish(live)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not faults


def test_a_death_between_any_two_steps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the folder after every step that changes it is an index with all that was acknowledged."""
    index = Index.create(tmp_path / "index", MIXED, checkpoint=CHECKPOINT)
    truth: dict[str, int] = {}
    taken: list[tuple[Path, str, dict[str, int], dict[str, int]]] = []
    afterwards: dict[str, int] = {}

    def watched(owner: Any, method: str) -> None:
        original = getattr(owner, method)

        def step(*arguments: Any, **options: Any) -> Any:
            def take(when: str) -> None:
                place = tmp_path / f"{len(taken)}"
                copy_folder(index.folder, place)
                taken.append((place, f"{when} {method}", dict(truth), dict(afterwards)))

            if method == "write":  # a new shard or file may lie there that the manifest does not name yet
                take("before")
            answer = original(*arguments, **options)
            take("after")
            return answer

        monkeypatch.setattr(owner, method, step)

    for owner, method in [
        (Manifest, "write"),
        (TombstoneLog, "_append"),
        (Shard, "upsert"),
        (Shard, "delete"),
        (writing, "write_tombstones"),
        (writing, "_remove_unused"),
    ]:
        watched(owner, method)
    version = 0
    for step, some in [
        ("add", NAMES[:8]),
        ("begin", []),
        ("add", NAMES[6:10]),
        ("delete", NAMES[:2]),
        ("finish", []),
        ("add", NAMES[1:4]),
        ("delete", NAMES[2:7]),
        ("begin", []),
        ("add", NAMES[:3]),
        ("finish", []),
    ]:
        if step == "add":
            versions = list(range(version, version := version + len(some)))
            afterwards = truth | dict(zip(some, versions, strict=True))
            add(index, some, versions)
        elif step == "delete":
            afterwards = {name: kept for name, kept in truth.items() if name not in some}
            index.delete(some)
        elif step == "begin":
            index.seal()
        else:
            finish(index)
        truth = dict(afterwards)
        agree(index, truth)
    monkeypatch.undo()
    monkeypatch.setattr(writing, "Sealer", SealedHere)
    assert len(taken) > 20
    for place, step, before, after in taken:
        with Index.open(place, checkpoint=CHECKPOINT) as found:
            rows = {record.id: record.payload["v"] for record in found.scroll()}
            for name in NAMES:
                assert rows.get(name) in (before.get(name), after.get(name)), f"{name} {step}"
            assert len(found) == len(rows) == len(found.search(QUERIES["dense"], limit=50)), step
            finish(found)
            assert {record.id: record.payload["v"] for record in found.scroll()} == rows, step
            assert {path.name for path in place.iterdir()} == {
                *found.manifest.sealed,
                found.manifest.live,
                found.manifest.tombstones,
                "manifest.json",
                "writer.lock",
            }
    while_closing(index)
