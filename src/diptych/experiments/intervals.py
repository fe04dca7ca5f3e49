"""How sure a difference between two recipes is, over training seeds and over queries at once.

A recipe trained with another seed gives another number, and so does the same model asked other queries. With S seeds
and Q queries, both recipes answer every query with every seed, and the differences are crossed:

    d[s, q] = mean + seed[s] + query[q] + rest[s, q]

An interval over queries alone (a bootstrap of one run) leaves out the seeds; one over seeds alone leaves out the
queries. Three variances of the mean are estimated, in which queries that hang together (texts of one image, equal
texts) are summed as one cluster g of G, and r is what remains of d after its row and column means:

    seeds   = var_s(mean_q d) / S                                           holds seed and rest, S - 1 df
    queries = G / (G - 1) * sum_g (sum_{q in g} (mean_s d - mean))^2 / Q^2  holds query and rest
    rest    = G / (G - 1) * sum_s,g (sum_{q in g} r)^2 / (S (S - 1) Q^2)    holds rest alone

so that the mean's variance is seeds + own, own = max(queries - rest, 0): the two-way cluster-robust variance. The
interval at level 1 - alpha is mean +- half, with Student's t of each part's degrees of freedom weighed by the parts:

    half = (t(S - 1) * seeds + t(G' - 1) * own) / sqrt(seeds + own),   at least t(G' - 1) * sqrt(rest / 4 + own)

G' = (sum n_g)^2 / sum n_g^2 counts clusters of unequal size n_g for what they are worth. With three seeds t(S - 1) is
4.3 and dear, but only the share of the seeds pays it. Satterthwaite's degrees of freedom would give narrower intervals
that hold the truth in 93 to 97% of cases at three seeds; this one holds it in 95 to 97%, whichever parts are there
(`benchmarks/calibration.py`). The lower bound speaks where few queries make seeds agree by chance.

The queries are those of one test split against one gallery: the interval is about other queries like them, not about
another gallery. What the recipes answer must be compared with the same seeds and the same queries, in the same order.

Sources: the crossed model: Searle, Casella and McCulloch, Variance Components (1992); that no simple bootstrap does it:
McCullagh, Resampling and exchangeable arrays, Bernoulli 6 (2000), and Owen, The pigeonhole bootstrap (2007, arXiv
0712.1111); two-way clusters: Cameron, Gelbach and Miller, Robust inference with multiway clustering (2011); t values
weighed by their parts: Cochran and Cox, Experimental Designs (1950); G': Kish, Survey Sampling (1965); many
comparisons: Holm, A simple sequentially rejective multiple test procedure (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np

from diptych.experiments.student import student_quantile

_DRAWS = 4096
"""Of a seed variance, in working out power; their error is below a percent of power."""


@dataclass(frozen=True)
class Spread:
    """Where the uncertainty of a mean difference comes from, in the square of the metric's unit.

    Attributes:
        seeds: variance of the mean from other training seeds, on `seed_count - 1` degrees of freedom.
        own: variance of the mean from other queries, beyond what seeds already show.
        rest: what seeds and queries do together; it is within `seeds` already.
        seed_count: S, at least 2.
        clusters: G', how many equal clusters of queries these are worth, above 1.
    """

    seeds: float
    own: float
    rest: float
    seed_count: int
    clusters: float

    def half(self, level: float = 0.95) -> float:
        """Half the width of the interval at `level`, between 0 and 1."""
        across_seeds, across_queries = self._quantiles(level)
        least = across_queries * math.sqrt(self.rest / 4 + self.own)
        whole = self.seeds + self.own
        if whole == 0:
            return least
        return max(least, (across_seeds * self.seeds + across_queries * self.own) / math.sqrt(whole))

    def with_seeds(self, count: int) -> Spread:
        """What the same recipes would have with another number of seeds."""
        share = self.seed_count / count
        return replace(self, seeds=self.seeds * share, rest=self.rest * share, seed_count=count)

    def _quantiles(self, level: float) -> tuple[float, float]:
        upper = (1 + level) / 2
        return student_quantile(upper, self.seed_count - 1), student_quantile(upper, max(self.clusters - 1, 1))


@dataclass(frozen=True)
class Difference:
    """A metric of one recipe less that of another.

    Attributes:
        mean: over seeds and queries.
        per_seed: of each seed alone.
        spread: where its uncertainty comes from.
    """

    mean: float
    per_seed: tuple[float, ...]
    spread: Spread

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper end."""
        half = self.spread.half(level)
        return self.mean - half, self.mean + half

    @cached_property
    def p(self) -> float:
        """The smallest alpha whose interval at 1 - alpha leaves 0 out, to about 1e-4 of it; 1 where the mean is 0."""
        if self.mean == 0:
            return 1.0
        low, high = -12.0, 0.0  # of its logarithm to base 10
        if self.spread.half(1 - 10**low) <= abs(self.mean):
            return 10**low
        for _ in range(16):
            middle = (low + high) / 2
            leaves_out = self.spread.half(1 - 10**middle) <= abs(self.mean)
            low, high = (low, middle) if leaves_out else (middle, high)
        return 10**high


def difference(ours: np.ndarray, theirs: np.ndarray, clusters: np.ndarray) -> Difference:
    """The difference of two recipes and its spread.

    Args:
        ours, theirs: `[S, Q]`, what each query got with each seed: 1 if found among the first k, or a reciprocal rank.
        clusters: `[Q]` integers, equal for queries that hang together; see `clusters_of`.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 seeds, or fewer than 2 clusters.

    Example:
        >>> ours, theirs = np.array([[1, 1, 1, 0.0], [1, 1, 0, 0]]), np.array([[1, 0, 0, 0.0], [1, 0, 0, 0]])
        >>> found = difference(ours, theirs, np.arange(4))
        >>> found.mean, found.per_seed
        (0.375, (0.5, 0.25))
    """
    if ours.shape != theirs.shape or ours.ndim != 2 or clusters.shape != ours.shape[1:]:
        raise ValueError(
            f"expected two arrays [seeds, queries] and clusters [queries]; got {ours.shape}, {theirs.shape} and "
            f"{clusters.shape}"
        )
    seeds, queries = ours.shape
    numbers, sizes = np.unique(clusters, return_inverse=True, return_counts=True)[1:]
    if seeds < 2:
        raise ValueError("one seed says nothing of other seeds; train with 2 at the least, better 3 to 5")
    if len(sizes) < 2:
        raise ValueError(f"all {queries:,} queries hang together (by shared ids or texts); expected 2 groups or more")
    apart = ours.astype(np.float64) - theirs
    of_seed, of_query = apart.mean(1), apart.mean(0)
    mean = float(of_seed.mean())
    few = len(sizes) / (len(sizes) - 1)
    together = np.bincount(numbers, of_query - mean)
    left = apart - of_seed[:, None] - of_query + mean
    both = np.stack([np.bincount(numbers, row) for row in left])
    rest = few * float((both**2).sum()) / (seeds * (seeds - 1) * queries**2)
    across = few * float((together**2).sum()) / queries**2
    spread = Spread(
        seeds=float(of_seed.var(ddof=1)) / seeds,
        own=max(across - rest, 0.0),
        rest=rest,
        seed_count=seeds,
        clusters=queries**2 / float((sizes.astype(np.float64) ** 2).sum()),
    )
    return Difference(mean, tuple(of_seed.tolist()), spread)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several comparisons, raised so that 5% is the chance of any false one among them all.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    raised = [0.0] * len(ps)
    most = 0.0
    for place, i in enumerate(order):
        most = max(most, min(1.0, (len(ps) - place) * ps[i]))
        raised[i] = most
    return raised


def power(effect: float, spread: Spread, *, seeds: int | None = None, level: float = 0.95) -> float:
    """How often a true difference of `effect` would be told from 0, if the spread is as it was estimated.

    The decision itself is worked out: the seeds' variance is drawn (4,096 times, always the same draws) as S seeds
    would estimate it, and for each draw the chance of a mean outside the interval is taken from the normal
    distribution. The queries' part is taken as known. With 3 seeds the spread itself is known roughly: a guide, not a
    promise.

    Args:
        effect: in the metric's unit; its sign does not matter.
        spread: of a difference that was measured.
        seeds: how many to train; default: as many as were.
        level: of the interval; 1 - 0.05 / m where m comparisons are made.

    Returns:
        A share, 0 to 1.
    """
    spread = spread if seeds is None else spread.with_seeds(seeds)
    error = math.sqrt(spread.seeds + spread.own)
    halves = _halves(spread, level)
    if error == 0:
        return float(abs(effect) > halves[0])
    cdf = NormalDist().cdf
    ups = (np.array([abs(effect), -abs(effect)])[:, None] - halves) / error
    return float(np.mean([cdf(up) for up in ups[0]]) + np.mean([cdf(up) for up in ups[1]]))


def detectable(spread: Spread, *, seeds: int | None = None, level: float = 0.95, chance: float = 0.8) -> float:
    """The smallest true difference that would be told from 0 with probability `chance`; see `power`."""
    spread = spread if seeds is None else spread.with_seeds(seeds)
    low, high = 0.0, max(spread.half(level), 1e-12)
    while power(high, spread, level=level) < chance:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, spread, level=level) < chance else (low, middle)
    return high


def _halves(spread: Spread, level: float) -> np.ndarray:
    """`half` for `_DRAWS` estimates of the seeds' variance, as many seeds would give them."""
    df = spread.seed_count - 1
    drawn = spread.seeds * np.random.default_rng(0).chisquare(df, _DRAWS) / df
    across_seeds, across_queries = spread._quantiles(level)
    whole = np.maximum(drawn + spread.own, 1e-300)
    weighed = (across_seeds * drawn + across_queries * spread.own) / np.sqrt(whole)
    return np.maximum(weighed, across_queries * math.sqrt(spread.rest / 4 + spread.own))
