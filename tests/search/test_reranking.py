"""A cascade gives the second score's order among the first one's candidates."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from backends import Backend
from numpy.typing import NDArray
from search_rows import CHECKPOINT, assert_same, names

from diptych.search import Hit, Index, Space, by_space, search_cascade

N = 120


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(21).normal(size=(N, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def index(backend: Backend, vectors: NDArray[np.float32]) -> Iterator[Index]:
    """Dense vectors with the codes of their signs."""
    folder = backend.place()
    spaces = {"dense": Space(32, "cosine"), "code": Space(32, "hamming", "code"), "words": Space(9, "dot", "lexical")}
    words = [([i % 3], [1.0 + i]) for i in range(N)]
    with Index.build(folder, spaces, checkpoint=CHECKPOINT) as fresh:
        rows = {"dense": vectors, "code": np.packbits(vectors > 0, axis=1), "words": words}
        fresh.add([f"{i:03}" for i in range(N)], rows, [{"i": i} for i in range(N)])
    with Index.open(folder) as opened:
        yield opened


def test_codes_then_vectors(index: Index, vectors: NDArray[np.float32]) -> None:
    query = vectors[0] + vectors[1]
    code = np.packbits(query > 0)
    candidates = [int(name) for name in names(index.search(code, space="code", limit=30))]
    cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    expected = sorted(candidates, key=lambda i: -cosine[i])
    hits = search_cascade(index, code, by_space(index, query), space="code", depth=30, limit=30)
    assert [int(hit.id) for hit in hits] == expected
    # float32 sums of 32 products of numbers below one.
    np.testing.assert_allclose([hit.score for hit in hits], cosine[expected], atol=1e-5)
    assert [hit.payload for hit in hits] == [{"i": i} for i in expected]
    pages = [
        search_cascade(index, code, by_space(index, query), space="code", depth=30, limit=11, offset=offset)
        for offset in (0, 11, 22, 33)
    ]
    assert_same([hit for page in pages for hit in page], hits)
    # With every row a candidate it is the exact search.
    whole = search_cascade(index, code, by_space(index, query), space="code", depth=N, limit=N)
    assert names(whole) == names(index.search(query, limit=N))
    even = search_cascade(index, code, by_space(index, query), space="code", depth=N, where={"i": {"lt": 20}})
    assert [int(hit.id) for hit in even] == sorted(range(20), key=lambda i: -cosine[i])[:10]


def test_a_lexical_score_of_no_shared_term_is_zero(index: Index, vectors: NDArray[np.float32]) -> None:
    hits = search_cascade(index, vectors[3], by_space(index, ([0], [1.0]), space="words"), depth=10)
    candidates = [int(name) for name in names(index.search(vectors[3], limit=10))]
    expected = {f"{i:03}": 1.0 + i if i % 3 == 0 else 0.0 for i in candidates}
    assert {hit.id: hit.score for hit in hits} == expected
    # Equals stay in the order of the first search.
    zeros = [hit.id for hit in hits if hit.score == 0]
    assert zeros == [f"{i:03}" for i in candidates if i % 3]


def test_any_function_of_hits_reranks(index: Index, vectors: NDArray[np.float32]) -> None:
    seen: list[str] = []

    def youngest(hits: Sequence[Hit]) -> list[int]:
        seen.extend(hit.id for hit in hits)
        return [-int(hit.id) for hit in hits]

    first = names(index.search(vectors[0], limit=12))
    assert names(search_cascade(index, vectors[0], youngest, depth=12, limit=3)) == sorted(first)[:3]
    assert seen == first, "candidates come best first, each once"


def test_scores_that_do_not_fit_are_told(index: Index, vectors: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match="100 hits were to be scored again, but 1 scores"):
        search_cascade(index, vectors[0], lambda _: [1.0])
    with pytest.raises(ValueError, match="the new score of '000' is NaN"):
        search_cascade(index, vectors[0], lambda hits: [float("nan")] * len(hits))
    with pytest.raises(ValueError, match="offset=-1"):
        search_cascade(index, vectors[0], lambda hits: [0.0] * len(hits), offset=-1)
    with pytest.raises(ValueError, match="has no row 'elsewhere'"):
        by_space(index, vectors[0])([Hit("elsewhere", 1.0, {})])
    assert search_cascade(index, vectors[0], lambda _: [1.0], where={"i": -1}) == []


def test_a_part_of_the_first_score_may_be_kept(index: Index, vectors: NDArray[np.float32]) -> None:
    first = index.search(vectors[4], limit=40)
    again = by_space(index, ([1], [2.0]), space="words", keep=5.0)(first)
    words = index.score([hit.id for hit in first], ([1], [2.0]), space="words")
    assert again == pytest.approx([5.0 * hit.score + words[hit.id] for hit in first])


def test_rows_that_moved_or_went_are_ranked_once(tmp_path: Path, vectors: NDArray[np.float32]) -> None:
    spaces = {"dense": Space(32, "cosine"), "again": Space(32, "dot")}
    with Index.create(tmp_path / "index", spaces, checkpoint=CHECKPOINT) as index:
        for rows in (range(0, 80), range(40, N), range(20, 30)):
            given = {"dense": vectors[list(rows)], "again": vectors[list(rows)] + min(rows)}
            index.add([f"{i:03}" for i in rows], given, [{"i": i} for i in rows])
            if min(rows) < 40:
                index.seal(wait=True)
        index.delete(["005", "100"])
        hits = index.search_again(vectors[5], vectors[6], other="again", depth=N, limit=N)
        moved = dict.fromkeys(range(80), 0) | dict.fromkeys(range(40, N), 40) | dict.fromkeys(range(20, 30), 20)
        scores = {
            f"{i:03}": float((vectors[i] + apart) @ vectors[6]) for i, apart in moved.items() if i not in (5, 100)
        }
        assert names(hits) == sorted(scores, key=lambda name: -scores[name])
        np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.id] for hit in hits], rtol=1e-4, atol=1e-4)
        assert [hit.payload["i"] for hit in hits] == [int(hit.id) for hit in hits]
