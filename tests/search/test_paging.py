"""Pages of a ranking whose engine orders equals anew at each question."""

from collections.abc import Sequence

import numpy as np
import pytest

from diptych.search import Hit, paging
from diptych.search.paging import settled


class Shuffling:
    """An engine of rows with these scores, that shuffles equals; remembers how much it was asked for."""

    def __init__(self, *scores: Sequence[int]) -> None:
        self.scores, self.random, self.asked = scores, np.random.default_rng(5), []

    def __call__(self, some: Sequence[int], number: int) -> list[list[Hit]]:
        self.asked.append((list(some), number))
        return [self._best(self.scores[query], number) for query in some]

    def _best(self, scores: Sequence[int], number: int) -> list[Hit]:
        order = self.random.permutation(len(scores))
        best = sorted(order, key=lambda i: -scores[i])[:number]
        return [Hit(f"{i:05}", float(scores[i]), {}) for i in best]


def test_pages_of_equals_join() -> None:
    scores = [9] * 3 + [7] * 40 + [5] * 2 + [4] * 60
    engine = Shuffling(scores)
    pages = [settled(engine, 1, limit=4, offset=offset, rows=len(scores))[0] for offset in range(0, len(scores) + 4, 4)]
    assert [hit.id for page in pages for hit in page] == [f"{i:05}" for i in range(len(scores))]


def test_only_queries_that_end_on_equals_are_asked_again() -> None:
    engine = Shuffling([3, 2, 1, 0], [5, 5, 5, 5], [1, 1, 0, 0])
    answers = settled(engine, 3, limit=2, offset=0, rows=4)
    assert [[hit.id for hit in answer] for answer in answers] == [["00000", "00001"]] * 3
    assert engine.asked == [([0, 1, 2], 3), ([1], 5)]


def test_too_many_equals_are_left_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_EQUALS", 100)
    engine = Shuffling([1] * 5000)
    (page,) = settled(engine, 1, limit=3, offset=0, rows=5000)
    assert len({hit.id for hit in page}) == 3
    assert max(number for _, number in engine.asked) < 4 * 104
