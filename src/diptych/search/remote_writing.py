"""Batches on their way to a cluster: cut by rows and by bytes, a few under way at once, stopped together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event

# The server takes 32 MiB; a client that sends more may not even hear the refusal.
BYTES_AT_ONCE = 8 * 2**20


def cut(sizes: Sequence[int], *, rows: Callable[[], int], most: int = BYTES_AT_ONCE) -> Iterator[range]:
    """Rows in order, cut into batches of at most so many rows and bytes; a row larger than that goes alone.

    Args:
        sizes: bytes of each row.
        rows: how many rows at most; asked anew for each batch, since the server may have asked for fewer.
        most: bytes at most.

    Example:
        >>> [list(batch) for batch in cut([3, 3, 3, 9, 1], rows=lambda: 2, most=8)]
        [[0, 1], [2], [3], [4]]
    """
    start = 0
    while start < len(sizes):
        end, total, limit = start, 0, rows()
        while end < len(sizes) and end - start < limit and (end == start or total + sizes[end] <= most):
            total += sizes[end]
            end += 1
        yield range(start, end)
        start = end


def send_all(batches: Iterable[range], send: Callable[[range, Event], None], *, in_flight: int) -> None:
    """Send every batch, `in_flight` of them at once; returns when all are done.

    Where one fails, or one presses Ctrl-C, no other is begun, those under way end, and nothing tries again: when
    this raises, nothing is being written any more.

    Args:
        batches: taken as they can be sent.
        send: sends one; its `Event` is set when it should not try again.
        in_flight: how many at once, from 1.
    """
    stop = Event()
    with ThreadPoolExecutor(in_flight, thread_name_prefix="diptych-write") as pool:
        pending: set[Future[None]] = set()
        try:
            for batch in batches:
                pending.add(pool.submit(send, batch, stop))
                if len(pending) == in_flight:
                    pending = _settle(pending)
            while pending:
                pending = _settle(pending)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _settle(pending: set[Future[None]]) -> set[Future[None]]:
    """Wait for one at least, raise what it raised, and give back those still under way."""
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest
