"""Look-alikes push what is right down where they should, random pictures do not, and what is the same is not taken."""

from __future__ import annotations

import math

import pytest
from hand_bench import HandBench

from diptych.evaluation.protocols.hard_gallery import measure


def vector(angle: str) -> list[float]:
    value = float(angle)
    return [math.cos(value), math.sin(value)]


def rows(angles: list[str], texts: list[str], ids: list[str]) -> dict[str, list]:
    return {"image": angles, "text": [[one] for one in texts], "id": ids}


def bench(**changed: list) -> HandBench:
    # Test pictures at 0 and 2; their captions a tenth beside. Of the others two lie nearer to a caption than its own.
    other = {"angles": ["0.12", "2.11", "4.0", "5.0", "6.0"], "texts": ["3.1", "3.2", "3.3", "3.4", "3.5"], **changed}
    ids = other.pop("ids", [f"t{i}" for i in range(5)])
    train = HandBench(rows(other["angles"], other["texts"], ids), image=vector, text=vector)
    return HandBench(rows(["0.0", "2.0"], ["0.1", "2.1"], ["a", "b"]), image=vector, text=vector, train=train)


def test_look_alikes_cost_what_random_pictures_do_not():
    found = measure(bench(), near=1, seed=1)
    assert found.numbers["t2i_recall@1"] == found.numbers["i2t_recall@1"] == 1.0
    assert found.numbers["t2i_recall@1_hard"] == 0.0  # 0.12 and 2.11 are nearer to 0.1 and 2.1
    assert found.numbers["i2t_recall@1_hard"] == 1.0  # their captions are far
    assert found.numbers["t2i_hard_drop"] == 1.0
    assert found.chance["t2i_recall@1"] == 0.5 and found.chance["t2i_recall@1_hard"] == pytest.approx(0.25)
    assert found.items["t2i_recall@1_hard"].tolist() == [0.0, 0.0]
    random = found.numbers["t2i_random_drop"]
    assert found.numbers["near_drop"] == pytest.approx((1.0 - random + 0.0 - found.numbers["i2t_random_drop"]) / 2)


def test_random_pictures_are_as_many_and_are_drawn_by_the_seed():
    drops = {measure(bench(), near=1, seed=seed).numbers["t2i_random_drop"] for seed in range(12)}
    assert 0.0 in drops and drops <= {0.0, 0.5, 1.0}
    assert len({measure(bench(), near=1).chance[f"t2i_recall@1{name}"] for name in ("_hard", "_random")}) == 1


def test_the_same_caption_or_id_is_not_taken():
    same_words = measure(bench(texts=["0.1", "3.2", "3.3", "3.4", "3.5"]), near=1)
    assert same_words.numbers["t2i_recall@1_hard"] == 0.5  # 0.12 says "0.1" itself, and is left out
    same_id = measure(bench(ids=["a", "t1", "t2", "t3", "t4"]), near=1)
    assert same_id.numbers["t2i_recall@1_hard"] == 0.5
    assert "1 pictures of the other split share" in same_id.notes[0]


def test_refusals():
    with pytest.raises(ValueError, match="near is 5, of 5 pictures"):
        measure(bench(), near=5)
    alone = HandBench(rows(["0.0"], ["0.1"], ["a"]), image=vector, text=vector)
    with pytest.raises(ValueError, match="no rows to learn from"):
        measure(alone, near=1)
