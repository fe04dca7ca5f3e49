"""Intervals are those of the formulas they stand for, and texts of one image do not count twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych.evaluation.intervals import interval, mean_of


def bits(count: int, share: float, seed: int = 0) -> torch.Tensor:
    return (torch.rand(count, generator=torch.Generator().manual_seed(seed)) < share).double()


def test_it_is_as_wide_as_the_binomial_one():
    values = bits(400, 0.3)
    share = float(values.mean())
    low, high = interval(values)
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    # A thousand draws tell the ends of an interval to about a tenth of its width.
    assert (share - low, high - share) == pytest.approx((half, half), rel=0.15)


def test_queries_drawn_together_count_once():
    values = bits(300, 0.5, seed=1)
    five = values.repeat_interleave(5)
    together = interval(five, clusters=np.repeat(np.arange(300), 5))
    assert together == pytest.approx(interval(values), abs=0.01)
    alone = interval(five)
    assert (alone[1] - alone[0]) * 5**0.5 == pytest.approx(together[1] - together[0], rel=0.15)


def test_a_mean_over_strata():
    values = torch.tensor([1.0] * 90 + [0.0] * 10 + [1.0, 0.0])
    strata = torch.tensor([0] * 100 + [1] * 2)
    assert mean_of(values, strata) == pytest.approx((0.9 + 0.5) / 2)
    low, high = interval(values, strata=strata)
    # The stratum of two is all wrong or all right in many of the draws: (0.9 + 0 or 1) / 2, beside the other's wobble.
    assert low == pytest.approx(0.45, abs=0.05) and high == pytest.approx(0.95, abs=0.05)
    assert mean_of(torch.tensor([1.0, 0.0]), torch.tensor([0, -1])) == 1


def test_what_has_no_value_is_left_out():
    values = bits(100, 0.5)
    some = torch.cat([values, torch.full((50,), torch.nan, dtype=torch.float64)])
    assert mean_of(some) == pytest.approx(float(values.mean()))
    assert interval(some) == interval(values)
    assert all(math.isnan(one) for one in interval(torch.tensor([1.0, torch.nan])))
    assert math.isnan(mean_of(torch.tensor([torch.nan])))
