"""Student's t with any number of degrees of freedom, whole or not, from the incomplete beta function.

    P(T <= t) = 1 - I_x(df / 2, 1 / 2) / 2,   x = df / (df + t^2),   t >= 0

I is evaluated by its continued fraction (modified Lentz), to about 1e-12. It is here so that an interval needs no
further package; where SciPy is at hand, `scipy.stats.t` says the same.

Source: NIST Digital Library of Mathematical Functions, 8.17.22 (the continued fraction).
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300


def student_cdf(t: float, df: float) -> float:
    """The probability that Student's t with `df` > 0 degrees of freedom is at most `t`.

    Example:
        >>> round(student_cdf(4.302653, 2), 6), student_cdf(0.0, 5)
        (0.975, 0.5)
    """
    if math.isinf(t):
        return float(t > 0)
    above = 0.5 * _beta(df / 2, 0.5, df / (df + t * t))
    return 1 - above if t >= 0 else above


@lru_cache(maxsize=4096)
def student_quantile(level: float, df: float) -> float:
    """The t below which Student's t with `df` > 0 degrees of freedom falls with probability `level`, 0 < level < 1.

    Example:
        >>> round(student_quantile(0.975, 2), 3), round(student_quantile(0.975, 1e9), 3)
        (4.303, 1.96)
    """
    if level < 0.5:
        return -student_quantile(1 - level, df)
    high = 1.0
    while student_cdf(high, df) < level and high < 1e150:
        high *= 2
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if student_cdf(middle, df) < level else (low, middle)
    return high


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image does not
        return 1 - _beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a / _fraction(a, b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), of which I_x(a, b) is the front over."""
    value = c = 1.0
    d = 0.0
    for number in range(1, 10_000):
        m = number // 2
        if number % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or _TINY)
        c = 1 + term / c or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
