"""Arrays are made once, and an interrupted store leaves nothing behind."""

import errno
from pathlib import Path

import numpy as np
import pytest

from diptych.data.cache import cache_root
from diptych.data.store import hash_of, stored

FIELDS = {"x": ((2,), "float32")}


def test_made_once_then_opened():
    calls = []

    def fill():
        calls.append(1)
        yield np.array([2, 0]), {"x": np.array([[5, 6], [1, 2]])}
        yield slice(1, 2), {"x": np.array([[3, 4]])}

    kept = [stored("made-once", 3, FIELDS, fill, lambda: {"made": len(calls)}) for _ in range(2)][1]
    assert kept.arrays["x"].tolist() == [[1, 2], [3, 4], [5, 6]] and kept.note == {"made": 1}
    with pytest.raises(ValueError, match="read-only"):
        kept.arrays["x"][0] = 0


def test_a_full_disk_leaves_nothing_half_made():
    def fill():
        yield slice(0, 1), {"x": np.zeros((1, 2))}
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        stored("full", 3, FIELDS, fill, lambda: None)
    assert not [path for path in Path(cache_root() / "arrays").iterdir() if "full" in path.name]


def test_hashes_tell_apart_what_differs():
    things = [
        ("ab",),
        ("a", "b"),
        (b"ab",),
        (np.zeros(2),),
        (np.zeros(2, np.float32),),
        (np.zeros((1, 2)),),
        ({"a": 1},),
    ]
    assert len({hash_of(*thing) for thing in things}) == len(things)
