"""A small collection of random vectors, and indexes of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from backends import SERVER, Backend, MemoryClient, clear_server, client_of
from numpy.typing import NDArray
from search_rows import CHECKPOINT, SPACES, Rows
from wire import WireServer

from diptych.search import Index, remote_client


@pytest.fixture(scope="session")
def rows() -> Rows:
    random = np.random.default_rng(7)
    payloads: list[dict[str, object]] = [
        {"split": ("train", "test", "val")[i % 3], "year": 2000 + i % 20, "flag": i % 2 == 0, "weight": i / 8}
        for i in range(200)
    ]
    return Rows([f"row {i}" for i in range(200)], random.normal(size=(200, 16)).astype(np.float32), payloads)


@pytest.fixture(scope="session")
def queries() -> NDArray[np.float32]:
    return np.random.default_rng(8).normal(size=(5, 16)).astype(np.float32)


@pytest.fixture(scope="session")
def memory() -> Iterator[MemoryClient]:
    """What stands for a server at `backends.IN_MEMORY`."""
    client = MemoryClient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_client, "new_client", client_of(client, remote_client.new_client))
        yield client


@pytest.fixture(scope="session", params=["edge", "client", "server"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, memory: MemoryClient
) -> Iterator[Backend]:
    """Each engine in turn; the server only where there is one."""
    if request.param == "server" and not SERVER:
        pytest.skip("no server: set QDRANT_URL to the address of one to test against it")
    wire = WireServer(memory) if request.param == "client" else None
    server = wire.address if wire else SERVER if request.param == "server" else ""
    yield Backend(request.param, lambda: tmp_path_factory.mktemp(request.param), server)
    if wire:
        wire.close()
    if request.param == "server":
        clear_server()


@pytest.fixture
def place(backend: Backend) -> Path | str:
    """Where no index is yet, of each engine."""
    return backend.place()


@pytest.fixture
def writable(backend: Backend) -> Iterator[Index]:
    """An empty index that takes writes, of each engine."""
    with Index.create(backend.place(), SPACES, checkpoint=CHECKPOINT) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared(backend: Backend, rows: Rows) -> Path | str:
    """An index built from `rows`, of each engine, to be read only."""
    return _built(backend.place(), rows)


@pytest.fixture
def own(backend: Backend, rows: Rows) -> Path | str:
    """An index built from `rows`, of each engine, to be done with as one likes."""
    return _built(backend.place(), rows)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> Path:
    """The folder of an index built from `rows`, to be read only."""
    folder = tmp_path_factory.mktemp("original") / "index"
    _built(folder, rows)
    return folder


@pytest.fixture
def built(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be done with as one likes."""
    return shutil.copytree(original, tmp_path / "index")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Index]:
    """An empty index that takes writes."""
    with Index.create(tmp_path / "live", SPACES, checkpoint=CHECKPOINT) as opened:
        yield opened


def _built(place: Path | str, rows: Rows) -> Path | str:
    """An index of `rows`, built there."""
    with Index.build(place, SPACES, checkpoint=CHECKPOINT) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
    return place
