"""A connection to a cluster: every call goes through `ask`, which tries again where that may help.

Between tries it waits a random time up to `FIRST_WAIT * 2^n` seconds, at most `LONGEST_WAIT` ("full
jitter", so that many clients do not come back at once), or as long as the server asks for. Every call
that Diptych makes may be made twice without harm.
"""

import os
import random
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from qdrant_client import QdrantClient

from diptych.search.address import KEY, Address
from diptych.search.cluster import Cluster
from diptych.search.remote_faults import asked_to_wait, is_passing, told

# Over a minute in all at the longest, in which a node starts again.
TRIES = 8
# A wrong address is told soon.
OPENING_TRIES = 3
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0

Answer = TypeVar("Answer")


def new_client(address: Address, cluster: Cluster) -> QdrantClient:
    """A client of the server at `address`, with the key of the environment if there is one."""
    return QdrantClient(
        url=address.server,
        api_key=os.environ.get(KEY) or None,
        timeout=cluster.timeout,
        # It warns of versions a minor apart; what is too old is found by what it lacks.
        check_compatibility=False,
    )


def wait(stop: Event, seconds: float) -> None:
    """Wait, unless and until `stop` is set."""
    stop.wait(seconds)


class Connection:
    """Questions to one cluster about one index."""

    def __init__(
        self,
        address: Address,
        cluster: Cluster,
        *,
        client: QdrantClient | None = None,
        wait: Callable[[Event, float], None] = wait,
    ) -> None:
        self.address, self.cluster = address, cluster
        self.client = client or new_client(address, cluster)
        self.wait = wait

    def ask(self, call: Callable[[QdrantClient], Answer], *, tries: int = TRIES, stop: Event | None = None) -> Answer:
        """The answer to `call`, asked up to `tries` times.

        Args:
            call: what to ask of the client.
            tries: how often at most.
            stop: set by others when nobody waits for the answer any more.

        Raises:
            IndexUnreachable, IndexUnreadable, PermissionError, OSError, ValueError: as `diptych.search.remote_faults`.
        """
        stopped = stop or Event()
        for attempt in range(tries):
            try:
                return call(self.client)
            except Exception as error:
                if not is_passing(error) or attempt == tries - 1 or stopped.is_set():
                    raise told(error, self.address) from error
                seconds = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**attempt))
                self.wait(stopped, max(seconds, asked_to_wait(error)))
        raise ValueError(f"tries are at least 1; found {tries}")

    def close(self) -> None:
        """Let go of the sockets."""
        self.client.close()
