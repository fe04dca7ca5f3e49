"""A ranking without dead rows is that of an engine that never had them, wherever they lie in it."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.search import Hit
from diptych.search.masking import masked
from diptych.search.paging import settled


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=30, max_size=30), min_size=1, max_size=3),
    st.sets(st.integers(0, 29)),
    st.integers(1, 12),
    st.integers(0, 32),
)
def test_dead_rows_are_as_if_never_there(scores: list[list[int]], dead: set[int], limit: int, offset: int) -> None:
    def ask(some: Sequence[int], number: int) -> list[list[Hit]]:
        return [
            [Hit(f"{i:02}", float(scores[q][i]), {}) for i in sorted(range(30), key=lambda i: -scores[q][i])][:number]
            for q in some
        ]

    alive = masked(ask, {f"{i:02}" for i in dead}, 30)
    pages = settled(alive, len(scores), limit=limit, offset=offset, rows=30)
    for query, page in zip(scores, pages, strict=True):
        left = [i for i in range(30) if i not in dead]
        expected = sorted(left, key=lambda i: (-query[i], i))[offset : offset + limit]
        assert [hit.id for hit in page] == [f"{i:02}" for i in expected]


def test_a_few_dead_rows_cost_one_question() -> None:
    asked: list[int] = []

    def ask(some: Sequence[int], number: int) -> list[list[Hit]]:
        asked.append(number)
        return [[Hit(str(i), -float(i), {}) for i in range(number)] for _ in some]

    (hits,) = masked(ask, {"0", "3", "800"}, 1000)([0], 10)
    assert [hit.id for hit in hits] == ["1", "2", "4", "5", "6", "7", "8", "9", "10", "11"]
    assert asked == [13]
