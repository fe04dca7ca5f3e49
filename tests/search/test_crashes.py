"""An index outlives what happens to the process that writes it: exceptions, SIGKILL, a full disk, a second process."""

import errno
import shutil
import subprocess
import sys
import textwrap
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from search_rows import CHECKPOINT, SPACES, Rows, names

from diptych.data import replacing
from diptych.search import Index, IndexInUse, IndexUnreadable

HEADER = """
import sys
import numpy as np
from diptych.data import replacing
from diptych.search import Index, Space

folder, spaces = sys.argv[1], {"dense": Space(16, "cosine")}
ids = [f"new {i}" for i in range(3000)]
rows = {"dense": np.random.default_rng(1).normal(size=(3000, 16))}
payloads = [{"i": i} for i in range(3000)]

def tell(word):
    print(word, flush=True)
    sys.stdin.readline()
"""


def start(folder: Path, code: str) -> "subprocess.Popen[str]":
    """A process that runs `code` and has come to its `tell`."""
    command = [sys.executable, "-c", HEADER + textwrap.dedent(code), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: "subprocess.Popen[str]", *, kill: bool) -> None:
    if kill:
        process.kill()
    process.communicate("go on\n", timeout=30)
    assert process.returncode == (-9 if kill else 0)


def still_answers(folder: Path, rows: Rows) -> None:
    """The index of `rows` is there, whole."""
    with Index.open(folder, checkpoint=CHECKPOINT) as index:
        assert len(index) == 200
        query = rows.vectors[5]
        assert names(index.search(query, limit=200)) == [name for name, _ in rows.nearest(query)]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


BUILDING = """
with Index.build(folder, spaces, checkpoint="new") as index:
    index.add(ids, rows, payloads)
    tell("ready")
"""


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_build_that_raises_leaves_the_earlier_index(built: Path, rows: Rows, failure: type[BaseException]) -> None:
    with pytest.raises(failure), Index.build(built, SPACES, checkpoint="new") as index:
        index.add(["new"], {"dense": np.ones((1, 16))}, [{}])
        raise failure
    still_answers(built, rows)
    assert leftovers(built) == []


def test_a_killed_build_leaves_the_earlier_index(built: Path, rows: Rows) -> None:
    end(start(built, BUILDING), kill=True)
    assert leftovers(built) == [".index.building", ".index.lock"]
    still_answers(built, rows)
    with Index.build(built, SPACES, checkpoint="next") as index:
        index.add(["only"], {"dense": np.ones((1, 16))}, [{}])
    with Index.open(built, checkpoint="next") as index:
        assert [record.id for record in index.scroll()] == ["only"]
    assert leftovers(built) == []


def test_a_first_build_that_was_killed_is_told(tmp_path: Path) -> None:
    end(start(tmp_path / "index", BUILDING), kill=True)
    for folder in (tmp_path / "index", tmp_path / ".index.building"):
        with pytest.raises(IndexUnreadable, match="interrupted; run `diptych index` again"):
            Index.open(folder)


def test_two_builds_at_once_are_told_and_readers_stay(built: Path, rows: Rows) -> None:
    process = start(built, BUILDING)
    with pytest.raises(IndexInUse, match="being built by another"), Index.build(built, SPACES, checkpoint="x"):
        pass
    with Index.open(built) as reader:
        end(process, kill=False)
        assert names(reader.search(rows.vectors[5], limit=1)) == ["row 5"], "the earlier index, while it is open"
    with Index.open(built, checkpoint="new") as index:
        assert len(index) == 3000


@pytest.mark.parametrize("then", ["open", "build"])
def test_killed_between_the_renames_the_earlier_index_goes_back(built: Path, rows: Rows, then: str) -> None:
    code = """
    from pathlib import Path
    from diptych.data import replacing
    swap = replacing._swap
    def halfway(fresh, folder):
        folder.replace(replacing._earlier(folder))
        tell("ready")
    replacing._swap = halfway
    with Index.build(folder, spaces, checkpoint="new"):
        pass
    """
    end(start(built, code), kill=True)
    assert not built.exists()
    if then == "build":
        with pytest.raises(RuntimeError), Index.build(built, SPACES, checkpoint="next"):
            raise RuntimeError
    still_answers(built, rows)


def test_a_rename_that_fails_leaves_the_earlier_index(built: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.replace

    def fails_into_place(self: Path, target: Path) -> Path:
        if self == replacing.half_built(built):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fails_into_place)
    with pytest.raises(OSError, match="Input/output"), Index.build(built, SPACES, checkpoint="new"):
        pass
    still_answers(built, rows)
    assert leftovers(built) == []


def test_a_full_disk_is_told_before_the_engine_meets_it(
    built: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The engine itself dies of SIGBUS there, so the room is asked for beforehand.
    usage = namedtuple("usage", "total used free")
    with pytest.raises(OSError, match="no space left") as caught, Index.build(built, SPACES, checkpoint="n") as index:
        index.add(["one"], {"dense": np.ones((1, 16))}, [{}])
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 2**20, 2**20))
        index.add(["two"], {"dense": np.ones((1, 16))}, [{}])
    assert caught.value.errno == errno.ENOSPC
    still_answers(built, rows)
    assert leftovers(built) == []


def test_a_manifest_that_cannot_be_written_leaves_the_earlier(
    built: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"), Index.build(built, SPACES, checkpoint="new"):
        monkeypatch.setattr("os.fsync", full)
    still_answers(built, rows)
    assert leftovers(built) == []


def test_what_add_and_delete_returned_from_outlives_a_kill(tmp_path: Path) -> None:
    code = """
    index = Index.create(folder, spaces, checkpoint="new")
    index.add(ids, rows, payloads)
    index.delete(ids[:10])
    index.add(ids[10:11], {"dense": np.eye(16)[:1]}, [{"i": -1}])
    tell("ready")
    """
    end(start(tmp_path / "index", code), kill=True)
    with Index.open(tmp_path / "index", checkpoint="new") as index:
        assert len(index) == 2990
        (hit,) = index.search(np.eye(16)[0], limit=1)
        assert (hit.id, hit.payload) == ("new 10", {"i": -1})


def test_processes_read_a_built_index_together(built: Path, rows: Rows) -> None:
    code = """
    with Index.open(folder, read_only=True) as index:
        tell("ready")
        assert index.search(np.ones(16), limit=200) == index.search(np.ones(16), limit=200, exact=True)
        assert len(index) == 200
    """
    others = [start(built, code), start(built, code)]
    with Index.open(built), Index.open(built):
        still_answers(built, rows)
    for process in others:
        end(process, kill=False)
    still_answers(built, rows)


def test_an_index_is_written_by_one_process_and_read_by_any(tmp_path: Path, queries: NDArray[np.float32]) -> None:
    code = """
    with Index.create(folder, spaces, checkpoint="new") as index:
        index.add(ids, rows, payloads)
        tell("ready")
        index.seal()
    """
    process = start(tmp_path / "index", code)
    for attempt in (Index.open, lambda folder: Index.open(folder, write=True)):
        with pytest.raises(IndexInUse, match="open elsewhere"):
            attempt(tmp_path / "index")
    with pytest.raises(IndexInUse, match="open elsewhere"), Index.build(tmp_path / "index", SPACES, checkpoint="x"):
        pass
    with Index.open(tmp_path / "index", read_only=True) as index:
        assert len(index) == 0 and index.search(queries[0]) == [], "what is not sealed only the writer sees"
        end(process, kill=False)
        index.refresh()
        assert len(index.search(queries[0], limit=5000)) == 3000 == index.manifest.count
