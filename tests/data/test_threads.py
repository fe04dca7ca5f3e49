"""Work ahead keeps its order, passes on what fails, and ends when nobody asks any more."""

from collections.abc import Iterator
from threading import Barrier, current_thread

import pytest

from diptych.data.threads import beforehand, in_order


def test_results_come_in_order_whichever_is_ready_first():
    pair = Barrier(2, timeout=20)  # so two run at a time, or this fails

    def slow(number: int) -> int:
        if number < 4:
            pair.wait()
        return number * number

    assert list(in_order(slow, range(20), threads=2)) == [n * n for n in range(20)]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_items_are_made_ahead_by_so_many_and_closed(ahead: int):
    made, closed = [], []

    def items():
        try:
            for number in range(10):
                made.append(number)
                yield number, current_thread().name
        finally:
            closed.append(True)

    stream = beforehand(items(), ahead)
    first, thread = next(stream)
    stream.close()
    assert first == 0 and closed == [True] and len(made) <= 1 + ahead
    assert (thread == current_thread().name) == (ahead == 0)


@pytest.mark.parametrize("threads", [0, 2])
def test_what_fails_is_raised_in_its_turn(threads: int):
    def fail(number: int) -> float:
        return 1 / (3 - number)

    def results() -> Iterator[float]:
        yield from in_order(fail, range(9), threads=threads)

    taken: list[float] = []
    with pytest.raises(ZeroDivisionError):
        for result in beforehand((one for one in results()), 2):
            taken.append(result)
    assert taken == [1 / 3, 1 / 2, 1.0]
