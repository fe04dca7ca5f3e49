"""Batches: cut where they must be, a few under way at once, and none after one failed."""

from itertools import zip_longest
from threading import Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.search.remote_writing import cut, send_all


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(1, 30))
def test_batches_hold_every_row_once_and_no_more_than_allowed(sizes: list[int], rows: int, most: int) -> None:
    batches = list(cut(sizes, rows=lambda: rows, most=most))
    assert [row for batch in batches for row in batch] == list(range(len(sizes)))
    for batch, following in zip_longest(batches, batches[1:]):
        total = sum(sizes[row] for row in batch)
        assert 1 <= len(batch) <= rows and (total <= most or len(batch) == 1)
        # None is smaller than it need be.
        if following is not None:
            assert len(batch) == rows or total + sizes[following[0]] > most


def test_the_limit_may_shrink_meanwhile() -> None:
    limits = iter([4, 2, 1, 1])
    assert [len(batch) for batch in cut([1] * 8, rows=lambda: next(limits), most=100)] == [4, 2, 1, 1]


def test_as_many_are_under_way_as_allowed_and_no_more() -> None:
    lock, running, peak, done = Lock(), 0, 0, []
    full = Event()

    def send(batch: range, _: Event) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
            if running == 3:
                full.set()
        # Nobody goes on before three are here, so that fewer at once would stall.
        assert full.wait(10)
        with lock:
            running -= 1
            done.extend(batch)

    send_all((range(i, i + 1) for i in range(12)), send, in_flight=3)
    assert peak == 3
    assert sorted(done) == list(range(12))


def test_the_next_batch_is_taken_when_there_is_room_for_it() -> None:
    taken: list[int] = []
    ahead: list[int] = []

    def batches():
        for i in range(20):
            taken.append(i)
            yield range(i, i + 1)

    def send(batch: range, _: Event) -> None:
        ahead.append(len(taken) - batch.start)

    send_all(batches(), send, in_flight=2)
    assert max(ahead) <= 3, "at most two sent and one taken"


@pytest.mark.parametrize("error", [ValueError("row 3"), KeyboardInterrupt()])
def test_after_a_failure_nothing_is_begun_and_all_are_told_to_stop(error: BaseException) -> None:
    begun: list[int] = []
    stopped: list[bool] = []
    failed = Event()

    def send(batch: range, stop: Event) -> None:
        begun.append(batch.start)
        if batch.start == 1:
            failed.set()
            raise error
        # One that waits for the server meanwhile is told.
        stopped.append(stop.wait(10))

    with pytest.raises(type(error)):
        send_all((range(i, i + 1) for i in range(50)), send, in_flight=2)
    assert failed.is_set()
    assert sorted(begun) == [0, 1] and stopped == [True]


def test_ctrl_c_while_waiting_ends_what_is_under_way() -> None:
    ended: list[int] = []
    here = Event()

    def batches():
        yield range(1)
        assert here.wait(10)
        raise KeyboardInterrupt  # as if pressed in the thread that hands out batches

    def send(batch: range, stop: Event) -> None:
        here.set()
        assert stop.wait(10)
        ended.append(batch.start)

    with pytest.raises(KeyboardInterrupt):
        send_all(batches(), send, in_flight=4)
    assert ended == [0], "when it raises, nothing is under way any more"
