"""The guard skips what is no number and what leaps, slows down, recovers, and stops after several in a row."""

from __future__ import annotations

import math

import pytest

from diptych.training.guard import RECOVERY, SETTLED, Diverged, Guard


def settled(level: float = 2.0, **how) -> Guard:
    guard = Guard(**how)
    for i in range(SETTLED):
        assert guard.reason_to_skip(level + 0.01 * (i % 3), 1.0) is None
    return guard


@pytest.mark.parametrize(
    ("loss", "norm", "said"), [(math.nan, 1.0, "loss is nan"), (math.inf, 1.0, "loss is inf"), (1.0, math.nan, "norm")]
)
def test_what_is_no_number_is_skipped(loss: float, norm: float, said: str):
    guard = Guard()
    assert said in (guard.reason_to_skip(loss, norm) or "")
    assert guard.factor == 0.5 and guard.skipped == 1 and guard.losses == []


def test_a_leap_is_skipped_and_a_rise_is_not():
    # The median is 2.01, its spread at least a tenth of it: with spike 5 the limit is 2.01 + 5 * 0.201 = 3.015.
    assert settled(spike=5).reason_to_skip(3.0, 1.0) is None
    assert "leapt to 3.1" in (settled(spike=5).reason_to_skip(3.1, 1.0) or "")
    assert settled(spike=0).reason_to_skip(1e9, 1.0) is None


def test_nothing_is_a_leap_before_losses_have_settled():
    guard = Guard(spike=1)
    assert [guard.reason_to_skip(10.0**i, 1.0) for i in range(5)] == [None] * 5
    again = settled(spike=1)
    again.forget()
    assert again.reason_to_skip(1e6, 1.0) is None


def test_the_rate_is_halved_and_grows_back():
    guard = settled()
    guard.reason_to_skip(math.nan, 1.0)
    guard.reason_to_skip(math.nan, 1.0)
    assert guard.factor == 0.25
    guard.reason_to_skip(2.0, 1.0)
    assert guard.factor == pytest.approx(0.25 * RECOVERY) and guard.in_a_row == 0
    for _ in range(100):
        guard.reason_to_skip(2.0, 1.0)
    assert guard.factor == 1.0


def test_several_in_a_row_stop_the_run():
    guard = Guard(most=3)
    for loss in (math.nan, math.nan, 1.0, math.nan, math.nan):
        guard.reason_to_skip(loss, 1.0)
    with pytest.raises(Diverged, match="3 steps in a row were skipped, the last because the loss is nan"):
        guard.reason_to_skip(math.nan, 1.0)


def test_its_state_goes_on():
    guard = settled(spike=5)
    again = Guard(**guard.state())
    assert again == guard and again.reason_to_skip(3.1, 1.0) is not None
