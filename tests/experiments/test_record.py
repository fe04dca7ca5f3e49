"""A record is written whole, read back equal, and refused with the file's name where it is none; its table by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from diptych.experiments.record import Record, read_record, read_records, table


def one(name: str = "mine") -> Record:
    arms = {"ours": {"recall": [0.5, 0.7], "words": [10.0, 30.0]}, "theirs": {"recall": [0.4, 0.4]}}
    record = Record(name, 75, "more", "small", "none", "recall", "ours", "theirs", seeds=[0, 1], arms=arms)
    record.difference, record.interval, record.verdict = 0.2, (-1.07, 1.47), "inconclusive"
    return record


def test_it_is_read_as_it_was_written(tmp_path: Path):
    one("b").write(tmp_path / "b.json")
    one("a").write(tmp_path / "a.json")
    assert read_record(tmp_path / "a.json") == one("a")
    assert read_records(tmp_path) == [one("a"), one("b")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json"]
    assert read_records(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda said: said.pop("arms"), "lacks the field 'arms'"),
        (lambda said: said.pop("higher"), "lacks the field 'higher'"),
        (lambda said: said.update(colour="red"), "has the field 'colour'"),
        (lambda said: said.update(verdict="maybe"), "the verdict 'maybe' is none of holds"),
        (lambda said: said["arms"]["theirs"]["recall"].pop(), "arm 'theirs' has not one 'recall' for each of 2 seeds"),
        (lambda said: said["arms"].pop("ours"), "arm 'ours' has not one 'recall'"),
    ],
)
def test_what_is_no_record_is_refused(change, message: str, tmp_path: Path):
    said = asdict(one())
    change(said)
    (tmp_path / "mine.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=message) as error:
        read_record(tmp_path / "mine.json")
    assert str(tmp_path / "mine.json") in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1, 2]"])
def test_another_files_json_is_named(text: str, tmp_path: Path):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(ValueError, match=r"mine\.json is no record of a reproduction"):
        read_record(tmp_path / "mine.json")


def test_its_table():
    # Standard deviations of two values are their distance over the root of 2: 0.1414 and 14.14.
    assert table(one()) == "\n".join(
        [
            "## mine: inconclusive",
            "recall: ours less theirs is +0.2000 (-1.0700 to +1.4700), 95%, 2 seeds",
            "",
            "| arm | recall | words |",
            "| --- | --- | --- |",
            "| ours | 0.6 ± 0.14 | 20 ± 14 |",
            "| theirs | 0.4 ± 0 |  |",
        ]
    )
