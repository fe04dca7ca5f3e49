"""Student's t agrees with SciPy, and with what is known of it in closed form."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from diptych.experiments.student import student_cdf, student_quantile


@pytest.mark.parametrize("df", [1, 2, 2.7, 4, 9, 31.4, 661, 1e5])
def test_it_agrees_with_scipy(df: float):
    for t in (-6.0, -0.3, 0.0, 0.01, 1.0, 4.3, 40.0):
        assert student_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), rel=1e-9, abs=1e-13)
    for level in (0.01, 0.5, 0.8, 0.975, 1 - 0.05 / 12, 1 - 1e-7):
        # At 1 - 1e-7 the level itself is known to 1e-16 only, which moves the quantile by 1e-9 of it.
        assert student_quantile(level, df) == pytest.approx(stats.t.ppf(level, df), rel=1e-7, abs=1e-9)


def test_one_degree_of_freedom_is_cauchys_and_two_are_closed():
    assert student_cdf(1.0, 1) == pytest.approx(0.75, abs=1e-14)
    assert student_quantile(0.975, 2) == pytest.approx(0.95 * math.sqrt(2 / (4 * 0.975 * 0.025)), rel=1e-12)


def test_far_out_it_stays_a_probability():
    assert student_cdf(math.inf, 3) == 1 and student_cdf(-math.inf, 3) == 0
    assert 0 < student_cdf(-1e6, 2) < 1e-11
