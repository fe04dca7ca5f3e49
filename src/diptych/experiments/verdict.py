"""What paired differences over seeds say of a claim: their 95% interval, and a verdict.

    mean(d) +- t(n - 1) * sd(d) / sqrt(n)      d = the method's figure less the baseline's, a value for each of n seeds

A claim holds where the whole interval lies on its side, does not hold where the whole lies on the other, and is else
inconclusive. Use it for arms that share data, order and budget seed by seed: then what the seeds do to both arms
alike is not in the differences. Few seeds give wide intervals: t is 12.7 for two seeds, 4.3 for three, 2.3 for ten.

Source: Student 1908, "The probable error of a mean", Biometrika 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Literal, get_args

from diptych.experiments.student import student_quantile

Verdict = Literal["holds", "does not hold here", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def interval(differences: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean of paired differences, and its 95% interval by Student's t.

    Args:
        differences: a value for each seed, at least two.

    Raises:
        ValueError: if there are fewer.

    Example:
        >>> interval([1.0, 3.0])
        (2.0, (-10.70..., 14.70...))
    """
    if len(differences) < 2:
        raise ValueError(f"an interval needs at least 2 seeds; there is {len(differences)}")
    middle, spread = mean(differences), stdev(differences)
    half = student_quantile(0.975, len(differences) - 1) * spread / math.sqrt(len(differences))
    return middle, (middle - half, middle + half)


def verdict(around: tuple[float, float], *, higher: bool = True, within: float = 0.0) -> Verdict:
    """What an interval of differences says of a claim.

    Args:
        around: the ends of the interval of the method's figure less the baseline's.
        higher: whether more of the figure is better.
        within: 0 where the method is to gain; else how much it may lose, in the figure's units.

    Example:
        >>> verdict((0.01, 0.03)), verdict((-0.01, 0.03)), verdict((-0.01, 0.03), within=0.02)
        ('holds', 'inconclusive', 'holds')
    """
    low, high = around if higher else (-around[1], -around[0])
    if low > -within:
        return "holds"
    return "does not hold here" if high < -within else "inconclusive"
