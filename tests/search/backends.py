"""The engines that the contract of an index is held to: in process, the cluster's client alone, and a server.

edge      a folder, qdrant-edge
client    an address on loopback, behind which is the client's own memory: it keeps aliases, metadata, payloads and
          filters, and compares every row; no graph
server    the server at the environment's QDRANT_URL
"""

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from httpx import Headers
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from diptych.search.address import Address
from diptych.search.cluster import Cluster

IN_MEMORY = "http://in-memory:6333"
SERVER = os.environ.get("QDRANT_URL", "").rstrip("/")


class MemoryClient:
    """The client's own memory, as a server: one call at a time, a 404 for what is missing, and no end by `close`."""

    def __init__(self) -> None:
        self._client, self._lock = QdrantClient(":memory:"), threading.RLock()

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            # It says of payload indexes and search settings that they change nothing here.
            with self._lock, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                try:
                    return called(*arguments, **options)
                except ValueError as error:
                    if str(error).startswith("Collection") and str(error).endswith("not found"):
                        said = f'{{"status":{{"error":"{error}"}}}}'.encode()
                        raise UnexpectedResponse(404, "Not Found", said, Headers()) from error
                    raise

        return call

    def forget(self, index: str) -> None:
        """Delete every collection whose name begins so."""
        for collection in self._client.get_collections().collections:
            if collection.name.startswith(index):
                self._client.delete_collection(collection.name)

    def close(self) -> None:
        """Another connection may come."""


@dataclass(frozen=True)
class Backend:
    """Where indexes of a test can lie.

    Attributes:
        name: "edge", "client" or "server".
        folder: makes a new folder.
        server: address of the server, if it is on one.
    """

    name: str
    folder: Callable[[], Path]
    server: str = ""
    _numbers: count = field(default_factory=count)

    def place(self) -> Path | str:
        """A place where no index is."""
        if not self.server:
            return self.folder() / "index"
        return f"{self.server}/diptych-test-{os.getpid()}-{next(self._numbers)}"


def client_of(memory: MemoryClient, real: Callable[[Address, Cluster], QdrantClient]) -> Callable[..., Any]:
    """Opens clients: `memory` for addresses in memory, a real one for others."""

    def new_client(address: Address, cluster: Cluster) -> Any:
        return memory if address.server == IN_MEMORY else real(address, cluster)

    return new_client


def clear_server() -> None:
    """Delete what the tests of this process left on the server."""
    client = QdrantClient(url=SERVER, api_key=os.environ.get("QDRANT_API_KEY"), check_compatibility=False)
    for collection in client.get_collections().collections:
        if collection.name.startswith(f"diptych-test-{os.getpid()}-"):
            client.delete_collection(collection.name)
    client.close()
