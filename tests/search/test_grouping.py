"""Groups are those that plain Python makes of the whole ranking, page by page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import Backend
from search_rows import CHECKPOINT, Rows, assert_same

from diptych.search import Index, Space, search_groups


@pytest.fixture(scope="module")
def index(backend: Backend, rows: Rows) -> Iterator[Index]:
    """Of 200 rows half are of one product, the others of 25, and every ninth of none."""
    folder = backend.place()
    with Index.build(folder, {"dense": Space(16, "cosine")}, checkpoint=CHECKPOINT) as fresh:
        payloads: list[dict[str, object]] = [
            {} if i % 9 == 0 else {"product": "big" if i % 2 else f"p{i % 25}", "year": i % 20} for i in range(200)
        ]
        fresh.add(rows.ids, {"dense": rows.vectors}, payloads)
    with Index.open(folder) as opened:
        yield opened


def test_each_value_comes_once_with_its_best_hit(index: Index, rows: Rows) -> None:
    query = rows.vectors[1]
    expected: dict[str, str] = {}
    for hit in index.search(query, limit=200):
        if "product" in hit.payload:
            expected.setdefault(str(hit.payload["product"]), hit.id)
    assert len(expected) == 26
    groups = search_groups(index, query, group_by="product", limit=100)
    assert [(group.value, group.best.id) for group in groups] == list(expected.items())
    pages = [search_groups(index, query, group_by="product", limit=4, offset=offset) for offset in range(0, 32, 4)]
    joined = [group for page in pages for group in page]
    assert [group.value for group in joined] == [group.value for group in groups]
    assert_same([group.best for group in joined], [group.best for group in groups])
    young = search_groups(index, query, group_by="product", limit=100, where={"year": {"lt": 4}})
    assert {group.value for group in young} < set(expected)
    assert all(group.best.payload["year"] in range(4) for group in young)


def test_lists_and_nested_fields_and_kinds_of_value(place: Path | str) -> None:
    payloads: list[dict[str, Any]] = [
        {"tags": ["red", "blue"], "shot": {"by": "Ana"}, "boxes": [{"of": "car"}, {"of": "bus"}], "n": 1},
        {"tags": ["blue", "green"], "shot": {"by": "Ben"}, "boxes": [{"of": "bus"}], "n": True},
        {"tags": [], "shot": None, "boxes": None, "n": "1"},
        {"tags": None, "shot": {"by": "Ana"}, "n": 1.0},
    ]
    with Index.create(place, {"dense": Space(2, "dot")}, checkpoint=CHECKPOINT) as index:
        index.add(list("abcd"), {"dense": [[4.0, 0], [3.0, 0], [2.0, 0], [1.0, 0]]}, payloads)

        def groups(field: str) -> list[tuple[object, str]]:
            found = search_groups(index, np.array([1.0, 0.0]), group_by=field)
            return [(group.value, group.best.id) for group in found]

        assert groups("tags") == [("red", "a"), ("blue", "a"), ("green", "b")]
        assert groups("shot.by") == [("Ana", "a"), ("Ben", "b")]
        assert groups("boxes[].of") == [("car", "a"), ("bus", "a")]
        assert groups("n") == [(1, "a"), (True, "b"), ("1", "c")]
        assert groups("nowhere") == []
        with pytest.raises(ValueError, match="is no payload field"):
            groups("")
        with pytest.raises(ValueError, match="limit=0"):
            search_groups(index, np.ones(2), group_by="n", limit=0)


def test_rows_of_one_vector_are_on_one_page_each(place: Path | str) -> None:
    ids = [f"{i:03}" for i in range(90)]
    with Index.create(place, {"dense": Space(2, "dot")}, checkpoint=CHECKPOINT) as index:
        index.add(ids, {"dense": np.ones((90, 2))}, [{"own": name} for name in ids])
        pages = [search_groups(index, np.ones(2), group_by="own", limit=7, offset=offset) for offset in range(0, 91, 7)]
        assert [group.value for page in pages for group in page] == ids
        assert [hit.id for start in (0, 30, 60) for hit in index.search(np.ones(2), limit=30, offset=start)] == ids
