"""Fused rankings, worked by hand."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from search_rows import CHECKPOINT, names

from diptych.search import Hit, Index, Space, borda, reciprocal_rank, search_fused, weighted_sum
from diptych.search.fusing import min_max, z_scores


def ranking(**scores: float) -> list[Hit]:
    return [Hit(name, score, {"of": name}) for name, score in scores.items()]


FIRST, SECOND = ranking(a=9.0, b=5.0, c=1.0), ranking(c=0.8, d=0.6, a=0.2)


def scores(hits: list[Hit]) -> dict[str, float]:
    return {hit.id: hit.score for hit in hits}


def test_reciprocal_ranks_by_hand() -> None:
    fused = reciprocal_rank([FIRST, SECOND])
    # a and c: places 1 and 3; b and d: place 2 in one. Equals as they first come.
    assert names(fused) == ["a", "c", "b", "d"]
    expected = {"a": 1 / 61 + 1 / 63, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62}
    assert scores(fused) == pytest.approx(expected, rel=1e-12)  # float64 sums of two terms
    assert [hit.payload["of"] for hit in fused] == ["a", "c", "b", "d"]


def test_weights_and_k_of_reciprocal_ranks() -> None:
    fused = reciprocal_rank([FIRST, SECOND], k=0, weights=[1, 3])
    assert scores(fused) == pytest.approx({"c": 1 / 3 + 3, "a": 1 + 1, "d": 1.5, "b": 0.5}, rel=1e-12)
    assert names(fused) == ["c", "a", "d", "b"]


def test_borda_by_hand() -> None:
    # Points 2/3, 1/3, 0 in each; the first ranking counts twice. b and c: 2/3 both, as they first come.
    fused = borda([FIRST, SECOND], weights=[2, 1])
    assert scores(fused) == pytest.approx({"a": 4 / 3, "b": 2 / 3, "c": 2 / 3, "d": 1 / 3}, rel=1e-12)
    assert names(fused) == ["a", "b", "c", "d"]
    # Second of two beats first of one: 2 * 3/5 against 4/5; with k = 0 reciprocal ranks have both at 1.
    two = [ranking(x=9.0, m=8.0, p=7.0, q=6.0, r=5.0), ranking(y=9.0, m=8.0, s=7.0, t=6.0, u=5.0)]
    assert names(borda(two))[0] == "m" and names(reciprocal_rank(two, k=0))[0] == "x" and borda([[], []]) == []
    with pytest.raises(ValueError, match="2 rankings but 1 weights"):
        borda([FIRST, SECOND], weights=[1])


def test_min_max_sums_by_hand() -> None:
    # First scaled: a 1, b 0.5, c 0. Second: c 1, d 2/3, a 0. Who is absent has the last hit's 0.
    fused = weighted_sum([FIRST, SECOND], weights=[2, 1])
    assert scores(fused) == pytest.approx({"a": 2, "b": 1, "c": 1, "d": 2 / 3}, rel=1e-12)
    assert names(fused) == ["a", "b", "c", "d"]


def test_z_sums_by_hand() -> None:
    # 9, 5, 1: mean 5, deviation sqrt(32 / 3). 2, 0: mean 1, deviation 1. Absent: the last hit's z.
    z = 4 / np.sqrt(32 / 3)
    fused = weighted_sum([FIRST, ranking(b=2.0, c=0.0)], scaled=z_scores)
    assert scores(fused) == pytest.approx({"a": z - 1, "b": 1, "c": -z - 1}, rel=1e-12)
    assert names(fused) == ["b", "a", "c"]


def test_scaling_equal_scores_is_no_division_by_zero() -> None:
    same = np.full(3, 0.1)
    assert min_max(same).tolist() == [1, 1, 1]
    assert z_scores(same).tolist() == [0, 0, 0]
    assert weighted_sum([[], FIRST])[0].id == "a"
    assert weighted_sum([]) == reciprocal_rank([]) == reciprocal_rank([[], []]) == []


def test_a_scale_or_shift_of_one_ranking_changes_no_sum() -> None:
    moved = [Hit(hit.id, 7 * hit.score - 100, hit.payload) for hit in FIRST]
    for scaled in (min_max, z_scores):
        plain = scores(weighted_sum([FIRST, SECOND], scaled=scaled))
        # A hundred cancelled in float64 leaves 1e-14.
        assert scores(weighted_sum([moved, SECOND], scaled=scaled)) == pytest.approx(plain, abs=1e-12)


def test_weights_of_another_number_are_told() -> None:
    for fuse in (reciprocal_rank, weighted_sum):
        with pytest.raises(ValueError, match="2 rankings but 1 weights"):
            fuse([FIRST, SECOND], weights=[1.0])
    with pytest.raises(ValueError, match="k is at least 0; found -1"):
        reciprocal_rank([FIRST], k=-1)


@pytest.fixture
def index(place: Path | str) -> Index:
    """Four rows: near to the query by picture are a, b, c, d; by words d, c, and the others not at all."""
    spaces = {"dense": Space(2, "dot"), "lexical": Space(10, "dot", "lexical")}
    with Index.build(place, spaces, checkpoint=CHECKPOINT) as fresh:
        dense = [[4.0, 0], [3.0, 0], [2.0, 0], [1.0, 0]]
        words = [([1], [1.0]), ([1], [1.0]), ([2], [1.0]), ([2], [5.0])]
        fresh.add(list("abcd"), {"dense": dense, "lexical": words}, [{"old": name in "ac"} for name in "abcd"])
    return Index.open(place)


def test_spaces_are_fused(index: Index) -> None:
    queries = {"dense": [1.0, 0.0], "lexical": ([2], [1.0])}
    with index:
        hits = search_fused(index, queries)
        expected = {"a": 1 / 61, "b": 1 / 62, "c": 1 / 63 + 1 / 62, "d": 1 / 64 + 1 / 61}
        assert scores(hits) == pytest.approx(expected, rel=1e-12)
        assert names(hits) == ["d", "c", "a", "b"]
        pages = [search_fused(index, queries, limit=3, offset=offset) for offset in (0, 3, 6)]
        assert [names(page) for page in pages] == [["d", "c", "a"], ["b"], []]
        assert names(search_fused(index, queries, where={"old": True})) == ["c", "a"]
        assert names(search_fused(index, queries, depth=1)) == ["a", "d"]
        # Dense scaled: 1, 2/3, 1/3, 0. Words scaled: d 1, c 0.
        summed = search_fused(index, queries, fuse=partial(weighted_sum, weights=[1, 0.5]))
        assert scores(summed) == pytest.approx({"a": 1, "b": 2 / 3, "d": 0.5, "c": 1 / 3}, rel=1e-12)
        with pytest.raises(ValueError, match="no query"):
            search_fused(index, {})
        with pytest.raises(ValueError, match="limit=0"):
            search_fused(index, queries, limit=0)
        with pytest.raises(ValueError, match="no space 'late'"):
            search_fused(index, {"late": [1.0, 0.0]})
