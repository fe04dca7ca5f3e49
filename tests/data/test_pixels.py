"""Pixels are decoded in blocks: what was decoded before an interruption is kept, and the blocks read as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.data import pixels
from diptych.data.bad_rows import BadRows
from diptych.data.pixels import pixels_of
from diptych.data.processors import ImageProcessor
from diptych.data.sources import open_table


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """What was decoded, in an empty cache with blocks of 10 rows and chunks of 4."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixels, "BLOCK_BYTES", 10 * 3 * 16 * 16)
    monkeypatch.setattr(pixels, "CHUNK", 4)
    calls: list[object] = []
    one = ImageProcessor.one
    monkeypatch.setattr(ImageProcessor, "one", lambda *a, **k: (calls.append(a[1]["path"]), one(*a, **k))[1])
    return calls


def test_an_interrupted_decoding_goes_on_with_the_next_block(shapes: Path, decoded: list[object]):
    table, processor = open_table(shapes), ImageProcessor(16)

    def interrupted(done: int, rows: int) -> None:
        assert rows == 72
        if done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pixels_of(table, processor, bad=BadRows(), workers=1, progress=interrupted)
    decoded.clear()
    done: list[int] = []
    view, good = pixels_of(table, processor, bad=BadRows(), workers=1, progress=lambda d, n: done.append(d))
    assert len(decoded) == 42 and done[-1] == 72 and good.all()
    rows = np.array([71, 0, 9, 10, 35, 35, 60])
    expected = processor([table[int(row)]["image"] for row in rows])["pixels"]
    assert torch.equal(view.take(rows)["pixels"], expected) and len(view) == 72
    assert view.take(rows[:0])["pixels"].shape == (0, 3, 16, 16)


def test_of_a_table_that_has_grown_only_the_new_blocks_are_decoded(shapes: Path, decoded: list[object]):
    table, processor = open_table(shapes), ImageProcessor(16)
    pixels_of(table.select(range(25)), processor, bad=BadRows())
    decoded.clear()
    pixels_of(table, processor, bad=BadRows())
    assert len(decoded) == 72 - 20


def test_bad_images_are_named_by_their_row_in_the_table(shapes: Path, tmp_path: Path, decoded: list[object]):
    for number in range(25):
        data = (shapes / f"{number:03}.png").read_bytes()
        (tmp_path / f"{number:03}.png").write_bytes(data[:60] if number in (3, 21) else data)
        (tmp_path / f"{number:03}.txt").write_text("a shape")
    table = open_table(tmp_path)
    for keep in (True, False):
        bad = BadRows()
        _, good = pixels_of(table, ImageProcessor(16), bad=bad, keep=keep)
        assert np.flatnonzero(~good).tolist() == [entry.row for entry in bad] == [3, 21]
