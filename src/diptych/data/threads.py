"""Work done in threads while its results are waited for, and handed over in order.

Decoding and resizing run outside the interpreter's lock, so threads use all cores for them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def usable_cores() -> int:
    """How many cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[S], T], items: Iterable[S], *, threads: int) -> Generator[T]:
    """The results of `function` on all items, in the items' order, `threads` of them made at a time.

    Args:
        function: called in the threads.
        items: taken in the caller's thread, up to twice `threads` before their results are wanted.
        threads: 0 calls `function` in the caller's thread, when its result is wanted.

    Example:
        >>> list(in_order(abs, [-1, 2, -3], threads=2))
        [1, 2, 3]
    """
    if not threads:
        yield from map(function, items)
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def beforehand(items: Generator[T], count: int) -> Generator[T]:
    """The items, up to `count` of them made in a thread before they are asked for.

    Closing this generator closes `items`, once the one that is being made is done.

    Args:
        items: runs in the thread alone; what it raises is raised here.
        count: 0 makes each when it is asked for.

    Example:
        >>> list(beforehand((x for x in "abc"), 2))
        ['a', 'b', 'c']
    """
    if not count:
        yield from items
        return
    end = object()
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = deque(pool.submit(next, items, end) for _ in range(count))
            try:
                while (item := waiting.popleft().result()) is not end:
                    waiting.append(pool.submit(next, items, end))
                    yield item  # pyright: ignore[reportReturnType]
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        items.close()
