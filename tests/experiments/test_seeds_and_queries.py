"""Intervals hold the truth as often as they say, whichever of seeds and queries vary; power is what trials give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from diptych.experiments.intervals import Difference, Spread, detectable, difference, holm, power

NORMAL = stats.norm.ppf(0.975)


def simulated(random: np.random.Generator, parts: tuple[float, float, float], seeds: int, queries: int) -> np.ndarray:
    """`[S, Q]` differences of mean 0 whose mean has a variance of `parts` from seeds, queries and the rest."""
    a, b, e = (math.sqrt(part) for part in parts)
    of_seed = a * math.sqrt(seeds) * random.normal(size=(seeds, 1))
    of_query = b * math.sqrt(queries) * random.normal(size=(1, queries))
    return of_seed + of_query + e * math.sqrt(seeds * queries) * random.normal(size=(seeds, queries))


def test_the_parts_by_hand():
    # Two seeds, three queries; the second and third query are one cluster.
    d = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    found = difference(d, np.zeros((2, 3)), np.array([0, 1, 1]))
    # Means: 1/2 of all; 1/3 and 2/3 of the seeds; 1, 1/2, 0 of the queries. Clusters' sums of query means less 1/2 are
    # 1/2 and -1/2; what remains of d is +-(1/6, -1/3, 1/6), in clusters +-(1/6, -1/6).
    seeds = (2 * (1 / 6) ** 2) / 2
    across = 2 * (2 * (1 / 2) ** 2) / 9
    rest = 2 * (2 * 2 * (1 / 6) ** 2) / (2 * 1 * 9)
    assert found.mean == pytest.approx(0.5) and found.per_seed == pytest.approx((1 / 3, 2 / 3))
    assert found.spread.seeds == pytest.approx(seeds)
    assert found.spread.rest == pytest.approx(rest)
    assert found.spread.own == pytest.approx(across - rest)
    assert found.spread.clusters == pytest.approx(9 / 5)  # (1 + 2)^2 / (1 + 4)


def test_seeds_alone_give_students_interval():
    d = np.tile(np.array([[1.0], [2.0], [6.0]]), (1, 50))
    low, high = difference(d, np.zeros_like(d), np.arange(50)).interval()
    expected = stats.t.interval(0.95, 2, loc=3, scale=stats.sem([1, 2, 6]))
    assert (low, high) == pytest.approx(expected)


def test_queries_alone_give_the_normal_interval_of_their_means():
    values = np.random.default_rng(0).normal(size=400)
    found = difference(np.tile(values, (3, 1)), np.zeros((3, 400)), np.arange(400))
    assert found.interval() == pytest.approx(stats.t.interval(0.95, 399, loc=values.mean(), scale=stats.sem(values)))


def test_queries_asked_five_times_count_once():
    values = np.random.default_rng(0).normal(size=(3, 60))
    once = difference(values, np.zeros_like(values), np.arange(60))
    five = difference(np.repeat(values, 5, 1), np.zeros((3, 300)), np.repeat(np.arange(60), 5))
    assert five.interval() == pytest.approx(once.interval())
    assert five.spread.clusters == pytest.approx(60)
    apart = difference(np.repeat(values, 5, 1), np.zeros((3, 300)), np.arange(300))
    assert apart.spread.rest < five.spread.rest / 4  # what one would believe of texts taken for independent


PARTS = {
    "both": (0.5, 0.5, 0.0),
    "both and rest": (0.33, 0.33, 0.34),
    "mostly seeds": (0.7, 0.2, 0.1),
    "no seeds": (0.0, 0.7, 0.3),
    "no queries": (0.7, 0.0, 0.3),
    "seeds only": (1.0, 0.0, 0.0),
    "queries only": (0.0, 1.0, 0.0),
}


@pytest.mark.parametrize("name", PARTS)
def test_with_three_seeds_it_holds_the_truth_in_95_of_100(name: str):
    random, held, trials = np.random.default_rng(list(PARTS).index(name)), 0, 800
    for _ in range(trials):
        d = simulated(random, PARTS[name], 3, 60)
        low, high = difference(d, np.zeros_like(d), np.arange(60)).interval()
        held += low <= 0 <= high
    # Of 800 trials at 95%, 2.6 standard deviations are 2 points; mixtures are held up to 98% of the time.
    assert 0.93 <= held / trials <= 0.99


def test_an_interval_over_queries_alone_would_not():
    """What this is for: with a seed part, the usual bootstrap of queries is wrong about every second time."""
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        d = simulated(random, (0.7, 0.3, 0.0), 3, 60)
        of_query = d.mean(0)
        held += abs(d.mean()) <= NORMAL * of_query.std(ddof=1) / math.sqrt(60)
    assert held / 300 < 0.75


def test_few_queries_that_agree_by_chance_do_not_make_it_sure():
    """Of ten queries three runs often score the same: seeds then seem not to differ at all."""
    random, told = np.random.default_rng(0), 0
    for _ in range(1000):
        chance = random.beta(0.5, 0.5, size=10)
        ours, theirs = (random.random((2, 3, 10)) < chance).astype(float)
        low, high = difference(ours, theirs, np.arange(10)).interval()
        told += not low <= 0 <= high
    assert told / 1000 < 0.06


def test_p_and_the_interval_say_the_same():
    random = np.random.default_rng(3)
    d = simulated(random, (0.3, 0.4, 0.3), 3, 80) + 2.5
    found = difference(d, np.zeros_like(d), np.arange(80))
    low, _ = found.interval(1 - found.p)
    assert low == pytest.approx(0, abs=2e-3 * found.mean)
    assert 0.001 < found.p < 0.5


def test_p_of_nothing_and_of_what_never_fails():
    same = np.ones((3, 20))
    assert difference(same, same, np.arange(20)).p == 1
    assert difference(same, same, np.arange(20)).interval() == (0, 0)
    assert difference(same, 0 * same, np.arange(20)).p == 1e-12


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("effect", [0.0, 1.5, 3.0, 5.0])
def test_power_is_the_share_of_trials_that_see_the_effect(effect: float):
    parts = (0.4, 0.4, 0.2)
    random, seen, trials = np.random.default_rng(11), 0, 1500
    for _ in range(trials):
        d = simulated(random, parts, 3, 100) + effect
        found = difference(d, np.zeros_like(d), np.arange(100))
        seen += abs(found.mean) > found.spread.half()
    # With rest of 0.2, the seeds' estimate holds it too.
    expected = power(effect, Spread(seeds=0.6, own=0.4, rest=0.2, seed_count=3, clusters=100))
    assert seen / trials == pytest.approx(expected, abs=0.04)  # 3 standard deviations of 1,500 trials at one half


def test_power_with_known_seeds_is_the_textbooks():
    # Many seeds and no queries' part: a two-sided z test.
    spread = Spread(seeds=1.0, own=0.0, rest=0.0, seed_count=100_000, clusters=1000)
    expected = stats.norm.sf(NORMAL - 2.8) + stats.norm.cdf(-NORMAL - 2.8)
    assert power(2.8, spread) == pytest.approx(expected, abs=1e-3)
    assert detectable(spread) == pytest.approx(NORMAL + stats.norm.ppf(0.8), abs=2e-3)
    assert power(-2.8, spread) == power(2.8, spread)


def test_with_three_seeds_power_is_that_of_students_test():
    spread = Spread(seeds=1.0, own=0.0, rest=0.0, seed_count=3, clusters=1000)
    critical = stats.t.ppf(0.975, 2)
    expected = stats.nct.sf(critical, 2, 5.0) + stats.nct.cdf(-critical, 2, 5.0)
    assert power(5.0, spread) == pytest.approx(expected, abs=0.01)


def test_what_can_be_seen_shrinks_with_seeds_and_grows_with_comparisons():
    spread = Spread(seeds=1.0, own=0.5, rest=0.3, seed_count=3, clusters=500)
    least = detectable(spread)
    assert power(least, spread) == pytest.approx(0.8, abs=1e-3)
    assert detectable(spread, seeds=6) < 0.7 * least < least < detectable(spread, level=1 - 0.05 / 3)
    # Seeds without end leave the queries' part.
    alone = math.sqrt(0.5) * (NORMAL + stats.norm.ppf(0.8))
    assert detectable(spread, seeds=10**6) == pytest.approx(alone, rel=0.01)


def test_all_runs_alike_can_be_told_from_anything():
    spread = Spread(0.0, 0.0, 0.0, 3, 10)
    assert detectable(spread) < 1e-9 and power(0.01, spread) == 1 and power(0.0, spread) == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "clusters", "message"),
    [
        (np.ones((1, 4)), np.ones((1, 4)), np.arange(4), "one seed says nothing"),
        (np.ones((2, 4)), np.ones((2, 4)), np.zeros(4, int), "all 4 queries hang together"),
        (np.ones((2, 4)), np.ones((2, 5)), np.arange(4), "expected two arrays"),
        (np.ones((2, 4)), np.ones((2, 4)), np.arange(5), "expected two arrays"),
    ],
)
def test_what_tells_nothing_is_refused(ours: np.ndarray, theirs: np.ndarray, clusters: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        difference(ours, theirs, clusters)


def test_the_sign_is_ours_less_theirs():
    ours, theirs = np.ones((2, 4)), np.zeros((2, 4))
    ours[0, 0] = 0.5
    found = difference(ours, theirs, np.arange(4))
    assert isinstance(found, Difference) and found.mean == pytest.approx(0.9375)
    assert difference(theirs, ours, np.arange(4)).mean == -found.mean
