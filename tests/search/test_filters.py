"""Filters find the rows that plain Python would pick, whether a field has an index or not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import Backend
from search_rows import CHECKPOINT, Rows

from diptych.search import Index, Space, parse_where
from diptych.search.manifest import FieldType

ROWS: list[dict[str, Any]] = [
    {"label": "cat", "year": 2008, "ok": True, "w": 0.5, "taken": "2020-05-01", "tags": ["a", "b"], "n": 1.0},
    {"label": "dog", "year": 2012, "ok": False, "w": 1.5, "taken": "2021-05-01T12:00:00", "tags": ["c"], "n": 1},
    {"label": "قطة", "year": 2020, "ok": 1, "w": None, "boxes": [{"of": "car"}, {"of": "bus"}], "n": "1"},
    {"camera": {"model name": "X-1", "日本": 3}, "a.b": 5, "tags": [], "n": True, "big": 2**60 + 1},
]
INDEXED: dict[str, FieldType] = {
    "label": "keyword",
    "year": "integer",
    "ok": "bool",
    "w": "float",
    "taken": "datetime",
    "camera.model name": "keyword",
    "big": "integer",
}


@pytest.fixture(scope="module", params=[{}, INDEXED], ids=["plain", "indexed"])
def index(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Index]:
    folder = backend.place()
    spaces = {"dense": Space(4, "cosine")}
    with Index.create(folder, spaces, checkpoint=CHECKPOINT, payload_fields=request.param) as opened:
        opened.add(list("0123"), {"dense": np.eye(4)}, ROWS)
        yield opened


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, "0123"),
        ({}, "0123"),
        ({"label": "cat"}, "0"),
        ({"label": "قطة"}, "2"),
        ({"label": ["cat", "dog", "cow"]}, "01"),
        ({"label": {"not": "cat"}}, "123"),
        ({"label": {"not": ["cat", "dog"]}}, "23"),
        ({"label": None}, "3"),
        ({"label": {"not": None}}, "012"),
        ({"label": ["cat", None]}, "03"),
        ({"tags": "b"}, "0"),
        ({"tags": None}, "23"),
        ({"year": 2012}, "1"),
        ({"year": 2012.0}, "1"),
        ({"year": "2012"}, ""),
        ({"year": [2008, 2020]}, "02"),
        ({"year": {"gte": 2008, "lt": 2020}}, "01"),
        ({"year": {"gt": 2008, "lte": 2020}}, "12"),
        ({"year": {"gte": 2008, "not": [2012, 2020]}}, "0"),
        ({"year": {"gte": 2008}, "label": "dog"}, "1"),
        ({"ok": True}, "0"),
        ({"ok": False}, "1"),
        ({"ok": [True, False]}, "01"),
        ({"w": 0.5}, "0"),
        ({"w": None}, "23"),
        ({"n": 1}, "01"),
        ({"n": "1"}, "2"),
        ({"n": [1, "1"]}, "012"),
        ({"n": True}, "3"),
        ({"big": 2**60 + 1}, "3"),
        ({"big": 2**60}, ""),
        ({"taken": {"gte": "2021-01-01"}}, "1"),
        ({"taken": {"lt": "2021-05-01T12:00:00"}}, "0"),
        ({"camera.model name": "X-1"}, "3"),
        ({"camera.日本": 3}, "3"),
        ({"a.b": 5}, ""),  # a dot always reaches inside
        ({"boxes[].of": "bus"}, "2"),
        ({"boxes[0].of": "bus"}, ""),
        ({"nowhere": "x"}, ""),
    ],
)
def test_each_form_finds_its_rows(index: Index, where: dict[str, object] | None, expected: str) -> None:
    assert "".join(sorted(hit.id for hit in index.search(np.ones(4), where=where))) == expected
    assert "".join(sorted(record.id for record in index.scroll(where=where))) == expected


def test_filtered_search_is_the_exact_answer_among_those_kept(shared: Path | str, rows: Rows) -> None:
    tests: list[tuple[dict[str, object], Callable[[Any], bool]]] = [
        ({"split": "test"}, lambda row: row["split"] == "test"),
        ({"flag": True, "year": {"gte": 2010}}, lambda row: row["flag"] and row["year"] >= 2010),
        ({"weight": {"lt": 5}}, lambda row: row["weight"] < 5),
    ]
    query = rows.vectors[0] + rows.vectors[1]
    with Index.open(shared) as index:
        for where, keeps in tests:
            kept = [i for i, row in enumerate(rows.payloads) if keeps(row)]
            hits = index.search(query, limit=200, where=where)
            assert [hit.id for hit in hits] == [name for name, _ in rows.nearest(query, kept)]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"year": {"above": 3}}, "filter on 'year' is not a value.*above"),
        ({"year": {}}, "filter on 'year'"),
        ({"year": []}, "filter on 'year'.*empty list"),
        ({"year": float("nan")}, "filter on 'year'.*nan"),
        ({"year": 2**63}, "filter on 'year'.*past 64 bits"),
        ({"year": object()}, "filter on 'year'.*object"),
        ({"year": {"gte": "soon"}}, "filter on 'year'.*soon"),
        ({"year": {"gte": 3, "lt": "2020-01-01"}}, "filter on 'year'.*bound '2020-01-01'"),
        ({"year": {"gte": True}}, "filter on 'year'.*bound True"),
        ({"year": {"not": {"gte": 3}}}, "filter on 'year'"),
        ({'a"b': 1}, "is no payload field"),
        ({"a..b": 1}, "is no payload field"),
        ({"": 1}, "is no payload field"),
        ({3: 1}, "3 is no payload field"),
        ("split=test", "a filter is a dict"),
    ],
)
def test_forms_that_are_none_are_told(index: Index, where: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index.search(np.ones(4), where=where)


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ([], {}),
        (["split=test"], {"split": "test"}),
        ([" split = two words "], {"split": "two words"}),
        (["label=a,b"], {"label": ["a", "b"]}),
        (["year=2010"], {"year": [2010, "2010"]}),
        (["year>=2010", "year<2020.5"], {"year": {"gte": 2010, "lt": 2020.5}}),
        (["year>2010", "year!=2012"], {"year": {"gt": 2010, "not": [2012, "2012"]}}),
        (["ok=true"], {"ok": [True, "true"]}),
        (["split!=train"], {"split": {"not": "train"}}),
        (["taken<=2020-05-01"], {"taken": {"lte": "2020-05-01"}}),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        (["camera.日本=３"], {"camera.日本": "３"}),  # a full-width digit is a text
        (["x=nan", "y=1e999", "z=007"], {"x": "nan", "y": "1e999", "z": [7, "007"]}),
    ],
)
def test_typed_filters_mean_what_they_say(clauses: list[str], expected: dict[str, object]) -> None:
    assert parse_where(clauses) == expected


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        (["split"], "cannot read the filter 'split': expected"),
        (["split="], "cannot read the filter 'split='"),
        (["=test"], "cannot read the filter '=test'"),
        (["label=a,,b"], "'label=a,,b'.*empty"),
        (["year>soon"], "'year>soon': 'soon' is neither a number nor a date"),
        (["a=1", "a=2"], "'a=2' sets 'a' a second time; write any-of as a=a,b"),
        (["a>1", "a>2"], "'a>2' sets 'a' a second time"),
        (["a>1", "a=2"], "'a=2' sets 'a' a second time"),
        (["a=1", "a>2"], "'a>2' sets 'a' a second time"),
    ],
)
def test_typed_filters_that_cannot_be_read_are_told(clauses: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_where(clauses)


def test_typed_filters_find_rows(index: Index) -> None:
    found = index.search(np.ones(4), where=parse_where(["year>=2010", "label=dog,قطة", "n=1"]))
    assert sorted(hit.id for hit in found) == ["1", "2"]
