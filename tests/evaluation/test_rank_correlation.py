"""Correlations against SciPy, against counting every pair, and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from diptych.evaluation.rank_correlation import kendall_tau_b, kendall_tau_c, spearman


@pytest.mark.parametrize("grades", [2, 4, 1000])
@pytest.mark.parametrize("n", [2, 3, 50, 333])
def test_scipy_agrees(n: int, grades: int):
    random = np.random.default_rng(n + grades)
    x = np.concatenate([[0, 1], random.normal(size=n - 2).round(1)])
    y = np.concatenate([[0, 1], random.integers(grades, size=n - 2)])
    assert kendall_tau_b(x, y) == pytest.approx(stats.kendalltau(x, y, variant="b")[0])
    assert kendall_tau_c(x, y) == pytest.approx(stats.kendalltau(x, y, variant="c")[0])
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0])


def test_by_hand():
    # x orders (0,1) and (0,2) and ties (1,2); y orders all as 0 < 2 < 1: C = 2, D = 0.
    x, y = [1, 2, 2], [1, 3, 2]
    pairs = [(x[j] - x[i]) * (y[j] - y[i]) for i, j in combinations(range(3), 2)]
    assert sum(np.sign(pairs)) == 2
    assert kendall_tau_b(x, y) == pytest.approx(2 / np.sqrt(2 * 3))
    assert kendall_tau_c(x, y) == pytest.approx(2 * 2 * 2 / (9 * 1))
    assert spearman(x, y) == pytest.approx(np.corrcoef([1, 2.5, 2.5], [1, 3, 2])[0, 1])


def test_what_has_no_order():
    assert all(np.isnan(f([1, 1, 1], [1, 2, 3])) for f in (kendall_tau_b, kendall_tau_c, spearman))
    with pytest.raises(ValueError, match="1 of 2 items have a NaN"):
        kendall_tau_b([1, float("nan")], [1, 2])
    with pytest.raises(ValueError, match="same length"):
        spearman([1, 2], [1, 2, 3])
