"""Intervals against published tables of t and values worked by hand; verdicts at every place of an interval."""

from __future__ import annotations

import math

import pytest

from diptych.experiments.verdict import interval, verdict

PUBLISHED = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262, 11: 2.228, 21: 2.086, 121: 1.980}
"""Seeds -> t of the printed tables."""


@pytest.mark.parametrize(("seeds", "t"), PUBLISHED.items())
def test_its_width_is_that_of_printed_tables(seeds: int, t: float):
    # Differences that alternate around 0, the last 0 where they are odd in number.
    differences = [(-1.0) ** i for i in range(seeds - seeds % 2)] + [0.0] * (seeds % 2)
    spread = math.sqrt(sum(x * x for x in differences) / (seeds - 1))
    _, (low, high) = interval(differences)
    assert (high - low) / 2 == pytest.approx(t * spread / math.sqrt(seeds), abs=5e-4)  # tables have three decimals


def test_an_interval_by_hand():
    # mean 2, standard deviation 1, t of two degrees of freedom
    middle, (low, high) = interval([1.0, 2.0, 3.0])
    half = 4.3027 / math.sqrt(3)
    assert (middle, low, high) == (2.0, pytest.approx(2 - half, abs=1e-4), pytest.approx(2 + half, abs=1e-4))


def test_equal_differences_have_an_interval_without_width():
    assert interval([0.5, 0.5, 0.5]) == (0.5, (0.5, 0.5))


@pytest.mark.parametrize("differences", [[], [0.3]])
def test_one_seed_has_no_interval(differences: list[float]):
    with pytest.raises(ValueError, match="at least 2 seeds"):
        interval(differences)


@pytest.mark.parametrize(
    ("around", "higher", "within", "said"),
    [
        ((0.1, 0.3), True, 0.0, "holds"),
        ((-0.1, 0.3), True, 0.0, "inconclusive"),
        ((-0.3, -0.1), True, 0.0, "does not hold here"),
        ((0.0, 0.3), True, 0.0, "inconclusive"),  # no gain is no gain
        ((0.0, 0.0), True, 0.0, "inconclusive"),
        ((-0.3, -0.1), False, 0.0, "holds"),  # less is better
        ((0.1, 0.3), False, 0.0, "does not hold here"),
        ((-0.1, 0.3), False, 0.0, "inconclusive"),
        ((-0.1, 0.3), True, 0.2, "holds"),  # it may lose 0.2
        ((-0.3, 0.3), True, 0.2, "inconclusive"),
        ((-0.4, -0.3), True, 0.2, "does not hold here"),
        ((-0.3, 0.1), False, 0.2, "holds"),
        ((0.3, 0.4), False, 0.2, "does not hold here"),
        ((0.1, 0.3), False, 0.2, "inconclusive"),
    ],
)
def test_verdicts(around: tuple[float, float], higher: bool, within: float, said: str):
    assert verdict(around, higher=higher, within=within) == said
