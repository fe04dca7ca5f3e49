"""The geometry of a bench is that of its vectors, and every number but shares of pairs is without a chance."""

from __future__ import annotations

import math

import pytest
from hand_bench import HandBench

from diptych.evaluation.protocols import geometry


def test_two_kinds_on_two_sides_have_the_gap_between_their_means():
    height = {"up": 1.0, "down": -1.0}
    turns = [0, 1, 2, 3]

    def on(side: str, turn: int) -> list[float]:
        return [math.cos(turn * math.pi / 2), math.sin(turn * math.pi / 2), height[side]]

    rows = {"image": turns, "text": [[f"turn {turn}"] for turn in turns]}
    bench = HandBench(rows, image=lambda turn: on("up", turn), text=lambda text: on("down", int(text.split()[1])))
    found = geometry.measure(bench, k=1)
    # Unit vectors at 45 degrees: the means are at height 1/sqrt 2 above and below.
    assert found.numbers["gap"] == pytest.approx(math.sqrt(2))
    assert found.numbers["alignment"] == pytest.approx(2.0)  # a right angle within each pair
    assert found.chance["across_auroc"] == 0.5 and "gap" not in found.chance
