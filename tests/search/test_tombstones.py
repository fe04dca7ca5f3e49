"""What a file of dead rows says, however the process that wrote it ended."""

from pathlib import Path

import pytest

from diptych.search import IndexUnreadable
from diptych.search.tombstones import TombstoneLog, read_tombstones, write_tombstones


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one row published as dead, and one not."""
    place = tmp_path / "tombstones-1.jsonl"
    assert write_tombstones(place, {"a": {"x"}}, {"a": {"y"}, "b": {"x"}}) == len('["dead",{"a":["x"]}]\n')
    return place


def test_readers_leave_out_what_is_published(path: Path) -> None:
    assert read_tombstones(path, len('["dead",{"a":["x"]}]\n')) == ({"a": {"x"}}, {})
    assert read_tombstones(path) == ({"a": {"x", "y"}, "b": {"x"}}, {})


def test_rows_are_dead_once_they_were_moved(path: Path) -> None:
    log = TombstoneLog(path)
    log.moving({"a": {"p"}, "b": {"q"}})
    assert read_tombstones(path)[1] == {"a": {"p"}, "b": {"q"}}, "nobody knows yet"
    log.moved()
    log.dead({"b": {"קטן", "\x00"}})
    log.close()
    assert read_tombstones(path) == ({"a": {"x", "y", "p"}, "b": {"x", "q", "קטן", "\x00"}}, {})


def test_a_move_that_failed_is_not_taken_for_a_later_one(path: Path) -> None:
    log = TombstoneLog(path)
    log.moving({"a": {"p", "q"}})  # fails, with q written
    log.dead({"a": {"q"}})
    log.moving({"a": {"r"}})  # fails
    log.moving({"a": {"s"}})
    log.moved()
    dead, unsure = read_tombstones(path)
    assert dead["a"] == {"x", "y", "q", "s"}
    assert unsure == {"a": {"p", "r"}}


def test_a_line_left_unfinished_is_passed_over_and_cut_off(path: Path) -> None:
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'["dead",{"a":["z"')
    assert read_tombstones(path)[0]["a"] == {"x", "y"}
    log = TombstoneLog(path)
    assert path.read_bytes() == whole
    log.dead({"a": {"w"}})
    assert read_tombstones(path)[0]["a"] == {"x", "y", "w"}
    assert log.size == path.stat().st_size


@pytest.mark.parametrize("line", ["{", '["lives",{}]', '["dead",7]', '["dead"]', "7"])
def test_damage_is_told(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(IndexUnreadable, match="is damaged in line 3"):
        read_tombstones(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(IndexUnreadable, match="is missing; rebuild"):
        read_tombstones(tmp_path / "gone")
