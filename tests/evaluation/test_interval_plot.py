"""Intervals share one scale with zero on it."""

from __future__ import annotations

from diptych.evaluation.interval_plot import IntervalPlot


def test_places_are_linear_and_zero_is_always_shown():
    plot = IntervalPlot("apart", "points", [("a", 1.0, 2.0, 3.0), ("b", 2.0, 3.0, 4.0)])
    low, high = plot.span
    assert low < 0 < 4 < high
    assert plot.across(low) == plot.left and plot.across(high) == plot.width - plot.right
    assert abs(plot.across(2.0) - (plot.across(1.0) + plot.across(3.0)) / 2) <= 0.1  # places are rounded to a tenth
    assert plot.height == 2 * plot.row_height + plot.bottom


def test_intervals_of_no_width_have_a_scale():
    plot = IntervalPlot("apart", "points", [("a", 0.0, 0.0, 0.0)])
    assert plot.span == (-1.0, 1.0) and plot.across(0.0) == plot.width / 2
