"""What a comparison lets one say, and what not, in sentences.

Points are hundredths of the metric: a recall of 0.52 is 52 points.
"""

from __future__ import annotations

from statistics import mean

from diptych.experiments.compare import Comparison
from diptych.experiments.intervals import Difference, detectable

ALPHA = 0.05
OFF_BUDGET = 0.1
"""Share of a budget of seconds that runs may miss before the reader is told."""


def points(value: float, *, signed: bool = False) -> str:
    """A share as points of a hundred.

    Example:
        >>> points(0.0123, signed=True), points(-0.2), points(0.0004)
        ('+1.2', '−20.0', '0.04')
    """
    value = 100 * value
    digits = 1 if abs(value) >= 0.095 or value == 0 else 2
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def conclusions(comparison: Comparison) -> list[str]:
    """A sentence for every difference, and what limits them."""
    said = [_sentence(comparison, name) for name in comparison.differences]
    return [*said, *_about_time(comparison), _limits(comparison)]


def _sentence(comparison: Comparison, name: str) -> str:
    one, baseline, p = comparison.differences[name], comparison.arms[0].name, comparison.p[name]
    low, high = (points(end, signed=True) for end in one.interval(1 - ALPHA))
    groups = len(set(comparison.clusters.tolist()))
    over = f"95% {low} to {high}, over {one.spread.seed_count} seeds and {_queries(comparison, groups)}"
    if p < ALPHA:
        way = "more" if one.mean > 0 else "less"
        verdict = "better" if one.mean > 0 else "worse"
        return f"{name} finds {points(abs(one.mean))} points {way} than {baseline} ({over}): {verdict} here."
    told = (
        f"No difference between {name} and {baseline} could be told: {points(one.mean, signed=True)} points ({over})."
    )
    if one.p < ALPHA:
        told += (
            f" Asked alone it would count (p {one.p:.2g}), but of {len(comparison.differences)} comparisons one so "
            f"large comes more easily by chance (p {p:.2g})."
        )
    return f"{told} {_unseen(comparison, one)}"


def _unseen(comparison: Comparison, one: Difference) -> str:
    least = detectable(one.spread, level=comparison.level)
    if least == 0:
        return "All runs answered every query alike."
    more = 2 * one.spread.seed_count
    then = detectable(one.spread, seeds=more, level=comparison.level)
    return (
        f"A difference of {points(least)} points would have been seen in four of five such comparisons, a smaller one "
        f"less often; with {more} seeds, one of {points(then)} points."
    )


def _queries(comparison: Comparison, groups: int) -> str:
    queries = len(comparison.clusters)
    what = "texts" if comparison.setting.metric.way == "t2i" else "images"
    return f"{queries:,} {what}" if groups == queries else f"{queries:,} {what} in {groups:,} groups"


def _about_time(comparison: Comparison) -> list[str]:
    budget = comparison.setting.budget
    if budget.unit != "seconds":
        return []
    took = {name: mean(one.cost["seconds"] for one in own) for name, own in comparison.outcomes.items()}
    off = {name: s for name, s in took.items() if abs(s / budget.amount - 1) > OFF_BUDGET}
    said = "The budget of seconds was turned into steps by timing a few of each recipe's on this machine"
    if not off:
        return [f"{said}; all runs kept to it within {OFF_BUDGET:.0%}."]
    missed = ", ".join(f"{name} took {s:,.0f} s" for name, s in off.items())
    return [f"{said}, which did not hold: of {budget.amount:,.0f} s, {missed}. Compare by steps or pairs to be sure."]


def _limits(comparison: Comparison) -> str:
    return (
        f"This holds for this data, {comparison.setting.budget} of training and these settings, which were tuned for "
        "none of the recipes: other data, a longer training or a better learning rate may order them otherwise."
    )
