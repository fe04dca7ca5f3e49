"""A small collection of random vectors, and indexes of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from search_rows import CHECKPOINT, SPACES, Rows

from diptych.search import Index


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
def original(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> Path:
    """The folder of an index built from `rows`, to be read only."""
    folder = tmp_path_factory.mktemp("original") / "index"
    with Index.build(folder, SPACES, checkpoint=CHECKPOINT) as index:
        index.add(rows.ids, {"dense": rows.vectors}, rows.payloads)
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
