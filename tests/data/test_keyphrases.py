"""Keyphrases worked out by hand, and PageRank by solving its equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diptych.data.keyphrases import Documents, by_rake, by_textrank, by_tfidf

TEXT = "A brown dog and a small brown dog chase the red ball. The dog is small."


def scores(found: list) -> dict[str, float]:
    return {one.text: one.score for one in found}


def test_tfidf_by_hand():
    known = Documents.of(["a brown dog", "a dog", "the red ball is red"])
    found = by_tfidf(TEXT, known)
    dog, brown = 3 * math.log(4 / 3), 2 * math.log(4 / 2)
    small, chase = 2 * math.log(4), math.log(4)
    red = ball = math.log(4 / 2)
    expected = {
        "brown dog": (brown + dog) / 2,
        "small brown dog chase": (small + brown + dog + chase) / 4,
        "red ball": (red + ball) / 2,
        "dog": dog,
        "small": small,
    }
    assert scores(found) == pytest.approx(expected)
    assert [one.text for one in found] == sorted(expected, key=lambda text: -expected[text])


def test_rake_by_hand():
    # brown in phrases of 2 and 4: 6 / 2. dog in 2, 4, 1: 7 / 3. small in 4, 1: 5 / 2. chase 4. red and ball 2 each.
    found = by_rake(TEXT)
    expected = {
        "small brown dog chase": 5 / 2 + 3 + 7 / 3 + 4,
        "brown dog": 3 + 7 / 3,
        "red ball": 4,
        "small": 5 / 2,
        "dog": 7 / 3,
    }
    assert scores(found) == pytest.approx(expected) and [one.text for one in found] == list(expected)


def test_textrank_solves_its_equations():
    words = ["brown", "dog", "small", "chase", "red", "ball"]
    beside = [("brown", "dog"), ("dog", "small"), ("small", "brown"), ("brown", "dog"), ("dog", "chase")]
    beside += [("chase", "red"), ("red", "ball"), ("dog", "small")]
    links = np.zeros((6, 6))
    for a, b in beside:
        i, j = words.index(a), words.index(b)
        links[i, j] += 1
        links[j, i] += 1
    rank = np.linalg.solve(np.eye(6) - 0.85 * links / links.sum(0), np.full(6, 0.15))
    found = scores(by_textrank(TEXT, window=2))
    assert found["dog"] == pytest.approx(rank[1], abs=1e-3)  # fifty steps, of which each leaves 85% of what is off
    assert found["red ball"] == pytest.approx((rank[4] + rank[5]) / 2, abs=1e-3)


def test_long_runs_are_cut_and_texts_without_words_have_none():
    assert {one.text for one in by_rake("alpha beta gamma delta epsilon zeta")} == {
        "alpha beta gamma delta",
        "epsilon zeta",
    }
    nothing = Documents.of([])
    for empty in ("", "the and of", "12 345 !"):
        assert by_rake(empty) == by_textrank(empty) == by_tfidf(empty, nothing) == []
    assert len(by_rake(TEXT, limit=2)) == 2


def test_mistakes_are_named():
    for extract in (by_rake, by_textrank, lambda text, limit: by_tfidf(text, Documents.of([]), limit=limit)):
        with pytest.raises(ValueError, match="limit is 0"):
            extract(TEXT, limit=0)
    with pytest.raises(ValueError, match="window is 1"):
        by_textrank(TEXT, window=1)
