"""Giving freed memory back."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from diptych.data.memory import give_back_memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is Linux's")
def test_what_is_freed_between_blocks_in_use_goes_back():
    def held() -> int:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    blocks = [bytearray(100_000) for _ in range(1000)]  # less than what the C library would map apart
    kept = blocks[::10]
    before = held()
    del blocks
    give_back_memory()
    assert len(kept) == 100
    # 90 MB of 100 are free; musl and others, which have no such call, return them themselves.
    assert before - held() > 45_000_000


def test_it_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    give_back_memory()
