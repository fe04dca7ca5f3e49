"""What an index answers: the exact nearest rows, what was written last, and nothing that does not fit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import Backend
from numpy.typing import NDArray
from search_rows import CHECKPOINT, SPACES, Rows, assert_same, names

from diptych.search import Index, IndexInUse, IndexSealed, Space, WrongCheckpoint

Vectors = NDArray[np.float32]


@pytest.fixture(scope="module", params=["built", "live"])
def index(request: pytest.FixtureRequest, backend: Backend, shared: Path | str, rows: Rows) -> Iterator[Index]:
    """The same rows in an index of each kind, to be read only."""
    if request.param == "built":
        opened = Index.open(shared, checkpoint=CHECKPOINT)
    else:
        opened = Index.create(backend.place(), SPACES, checkpoint=CHECKPOINT)
        opened.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    with opened:
        yield opened


@pytest.fixture
def built(own: Path | str) -> Path | str:
    """An index of the rows of each engine, to be done with as one likes."""
    return own


@pytest.fixture
def live(writable: Index) -> Index:
    """An empty index of each engine that takes writes."""
    return writable


def test_search_is_the_exact_answer(index: Index, rows: Rows, queries: Vectors) -> None:
    for query in queries:
        hits, expected = index.search(query, limit=20), rows.nearest(query)[:20]
        assert names(hits) == [name for name, _ in expected]
        # float32 sums of 16 products of numbers below one: 1e-5 is forty times their rounding.
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-5)
        assert [hit.payload for hit in hits] == [rows.payloads[rows.ids.index(hit.id)] for hit in hits]
        assert_same(hits, index.search(query, limit=20, exact=True))


def test_a_batch_answers_as_single_searches(index: Index, queries: Vectors) -> None:
    many = np.tile(queries, (60, 1))  # more than go to the engine at once
    answers = index.search_batch(many, limit=3)
    singles = [index.search(query, limit=3) for query in queries]
    assert len(answers) == 300
    for i, answer in enumerate(answers):
        assert names(answer) == names(singles[i % 5])
        np.testing.assert_allclose([h.score for h in answer], [h.score for h in singles[i % 5]], atol=1e-6)
    assert index.search_batch(np.empty((0, 16), np.float32)) == []


def test_pages_join_to_the_whole(index: Index, rows: Rows, queries: Vectors) -> None:
    pages = [index.search(queries[0], limit=60, offset=offset) for offset in (0, 60, 120, 180, 240)]
    assert names([hit for page in pages for hit in page]) == [name for name, _ in rows.nearest(queries[0])]
    assert [len(page) for page in pages] == [60, 60, 60, 20, 0]


def test_dot_scores_are_dot_products(place: Path | str, rows: Rows, queries: Vectors) -> None:
    with Index.build(place, {"dense": Space(16, "dot")}, checkpoint=CHECKPOINT) as fresh:
        fresh.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    with Index.open(place) as index:
        hits = index.search(queries[0], limit=200)
    dots = dict(zip(rows.ids, rows.vectors @ queries[0], strict=True))
    # Products of lengths near 4 by 4: sixteen times the tolerance of the cosine.
    np.testing.assert_allclose([hit.score for hit in hits], [dots[hit.id] for hit in hits], atol=1.6e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_two_spaces_are_searched_apart(place: Path | str) -> None:
    spaces = {"dense": Space(2, "cosine"), "small": Space(3, "dot")}
    with Index.create(place, spaces, checkpoint=CHECKPOINT) as index:
        index.add(["a", "b"], {"dense": np.eye(2), "small": [[0, 0, 2.0], [0, 0, 5.0]]}, [{}, {}])
        assert names(index.search([1.0, 0.0], space="dense")) == ["a", "b"]
        assert [(hit.id, hit.score) for hit in index.search([0, 0, 1.0], space="small")] == [("b", 5), ("a", 2)]
        with pytest.raises(ValueError, match=r"no space 'late'.*\['dense', 'small'\]"):
            index.search([1.0, 0.0], space="late")
        with pytest.raises(ValueError, match=r"spaces \['dense', 'small'\].*for \['dense'\]"):
            index.add(["c"], {"dense": [[1.0, 0.0]]}, [{}])


def test_a_row_of_the_same_id_replaces_the_earlier(live: Index, rows: Rows) -> None:
    live.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    live.add(["row 3", "new", "row 3"], {"dense": np.eye(16)[:3]}, [{"v": 1}, {}, {"v": 3}])
    assert len(live) == 201
    (record,) = live.get(["row 3"], vectors=True)
    assert record.payload == {"v": 3}
    np.testing.assert_array_equal(record.vectors["dense"], np.eye(16)[2])
    assert live.search(np.eye(16)[2], limit=1)[0].id == "row 3"


def test_deleted_rows_are_gone(live: Index, rows: Rows, queries: Vectors) -> None:
    live.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    assert live.delete([*rows.ids[:50], "row 0", "never there"]) == 50
    assert live.delete(rows.ids[:50]) == 0
    assert live.delete([]) == 0
    expected = [name for name, _ in rows.nearest(queries[0], keep=list(range(50, 200)))]
    assert names(live.search(queries[0], limit=200)) == expected
    live.close()
    with Index.open(live.place) as again:
        assert len(again) == 150 == again.manifest.count
        assert names(again.search(queries[0], limit=200)) == expected


def test_get_and_scroll_give_back_what_went_in(index: Index, rows: Rows) -> None:
    asked = ["row 7", "absent", "row 2", "row 7"]
    assert [(record.id, record.payload) for record in index.get(asked)] == [
        (f"row {i}", rows.payloads[i]) for i in (7, 2, 7)
    ]
    assert sorted(record.id for record in index.scroll()) == sorted(rows.ids)
    unit = rows.vectors / np.linalg.norm(rows.vectors, axis=1, keepdims=True)
    for record in index.scroll(vectors=True, where={"split": "test"}):
        # One rounding of float32 for the length and one for the quotient.
        np.testing.assert_allclose(record.vectors["dense"], unit[rows.ids.index(record.id)], atol=3e-7)


@pytest.mark.parametrize("kind", ["built", "live"])
def test_reopened_it_answers_the_same(kind: str, built: Path | str, live: Index, rows: Rows, queries: Vectors) -> None:
    live.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    index = live if kind == "live" else Index.open(built)
    before = index.search_batch(queries)
    index.close()
    index.close()
    with pytest.raises(ValueError, match="is closed"):
        index.search(queries[0])
    with Index.open(index.place, checkpoint=CHECKPOINT) as again:
        for hits, earlier in zip(again.search_batch(queries), before, strict=True):
            assert_same(hits, earlier)


def test_any_script_survives(live: Index) -> None:
    ids = ["🐈‍⬛.jpg", "שלום עולם", "قطة/٣", "é", "e\u0301", "a" * 3000, " ", "\x00"]
    payloads: list[dict[str, Any]] = [
        {"日本 語": name, "deep": {"🙂": [1, None, True, 2.5]}, "big": 2**63} for name in ids
    ]
    live.add(ids, {"dense": np.eye(16)[: len(ids)]}, payloads)
    live.close()
    with Index.open(live.place) as again:
        assert [(record.id, record.payload) for record in again.get(ids)] == list(zip(ids, payloads, strict=True))
        assert names(again.search(np.ones(16), where={"日本 語": "שלום עולם"})) == ["שלום עולם"]


def test_no_rows_are_no_error(place: Path | str) -> None:
    with Index.build(place, SPACES, checkpoint=CHECKPOINT) as index:
        index.add([], {"dense": np.empty((0, 16))}, [])
    with Index.open(place) as index:
        assert len(index) == 0
        assert index.search(np.ones(16)) == []
        assert index.get(["a"]) == list(index.scroll()) == []


def test_a_row_of_zeros_scores_zero(live: Index) -> None:
    live.add(["nothing"], {"dense": np.zeros((1, 16))}, [{}])
    assert live.search(np.ones(16))[0].score == 0


def test_a_built_index_grows_by_building_anew(built: Path | str, rows: Rows, queries: Vectors) -> None:
    with Index.build(built, SPACES, checkpoint=CHECKPOINT) as fresh, Index.open(built) as earlier:
        assert fresh.extend(earlier) == 200
        fresh.add(["new"], {"dense": queries[:1]}, [{}])
    with Index.open(built) as index:
        assert len(index) == 201 == index.manifest.count
        assert names(index.search(queries[0], limit=201)) == ["new", *(name for name, _ in rows.nearest(queries[0]))]
    with (
        pytest.raises(WrongCheckpoint),
        Index.build(built, SPACES, checkpoint="ffff") as fresh,
        Index.open(built) as earlier,
    ):
        fresh.extend(earlier)


def test_vectors_of_another_checkpoint_are_refused(shared: Path | str) -> None:
    with pytest.raises(WrongCheckpoint, match=r"a1b2c3d4e5f6,.*ffff0000ffff; .*`diptych index`") as caught:
        Index.open(shared, checkpoint="ffff0000ffff0000")
    assert isinstance(caught.value, ValueError)


def test_reading_is_not_writing(shared: Path | str, place: Path | str) -> None:
    Index.create(place, SPACES, checkpoint=CHECKPOINT).close()
    for folder in (shared, place):
        with Index.open(folder, read_only=True) as index:
            with pytest.raises(IndexSealed, match="build it anew"):
                index.add(["a"], {"dense": np.ones((1, 16))}, [{}])
            with pytest.raises(IndexSealed, match="build it anew"):
                index.delete(["a"])


def test_a_folder_that_takes_writes_opens_once(tmp_path: Path) -> None:
    live = Index.create(tmp_path / "live", SPACES, checkpoint=CHECKPOINT)
    for attempt in (Index.open, lambda folder: Index.create(folder, SPACES, checkpoint="ff", overwrite=True)):
        with pytest.raises(IndexInUse, match="live takes writes and is open elsewhere"):
            attempt(tmp_path / "live")
    live.add(["still there"], {"dense": np.ones((1, 16))}, [{}])
    live.close()


def test_create_replaces_only_when_told(built: Path | str) -> None:
    with pytest.raises(FileExistsError, match="overwrite=True"):
        Index.create(built, SPACES, checkpoint=CHECKPOINT)
    with Index.create(built, SPACES, checkpoint="ffff", overwrite=True) as index:
        assert len(index) == 0
    if isinstance(built, Path):
        assert [path.name for path in built.parent.iterdir()] == [built.name], "left something behind"
