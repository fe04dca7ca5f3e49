"""Bad rows are counted once, written at once, and described in one line."""

import json
from pathlib import Path

from diptych.data.bad_rows import BadRow, BadRows


def test_the_same_row_for_the_same_reason_counts_once():
    bad = BadRows()
    for _ in range(3):
        bad.add(7, "a.csv, row 9", "missing file", "7.jpg")
    bad.add(7, "a.csv, row 9", "empty text")
    assert len(bad) == 2
    assert list(bad) == [
        BadRow(7, "a.csv, row 9", "missing file", "7.jpg"),
        BadRow(7, "a.csv, row 9", "empty text", ""),
    ]


def test_reasons_are_counted_commonest_first():
    bad = BadRows()
    bad.add(0, "a", "empty text")
    for row in range(1, 3):
        bad.add(row, "a", "truncated image")
    assert list(bad.by_reason().items()) == [("truncated image", 2), ("empty text", 1)]


def test_summary_names_count_reasons_and_file(tmp_path: Path):
    path = tmp_path / "bad_rows.jsonl"
    bad = BadRows(path)
    assert bad.summary() == "no bad rows"
    bad.add(1, "a", "truncated image")
    assert bad.summary() == f"1 bad row set aside (1 truncated image): see {path}"
    bad.add(2, "a", "truncated image")
    bad.add(3, "a", "empty text")
    assert bad.summary() == f"3 bad rows set aside (2 truncated image, 1 empty text): see {path}"


def test_each_line_is_on_disk_before_the_next_row(tmp_path: Path):
    path = tmp_path / "runs" / "bad_rows.jsonl"
    bad = BadRows(path)
    bad.add(None, "shard.tar, member ü.jpg", "truncated tar", "byte 512")
    (line,) = path.read_text("utf-8").splitlines()
    assert json.loads(line) == {
        "row": None,
        "where": "shard.tar, member ü.jpg",
        "reason": "truncated tar",
        "detail": "byte 512",
    }
    bad.extend([BadRow(2, "x", "empty text")])
    assert len(path.read_text("utf-8").splitlines()) == 2


def test_a_report_of_an_earlier_run_does_not_stay(tmp_path: Path):
    path = tmp_path / "bad_rows.jsonl"
    path.write_text("{}\n" * 5)
    bad = BadRows(path)
    assert not path.exists()
    bad.add(0, "x", "empty text")
    assert len(path.read_text("utf-8").splitlines()) == 1
