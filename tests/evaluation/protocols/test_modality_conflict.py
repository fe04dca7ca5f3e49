"""A reader is taken in by every word, one who looks by none; the control and chance by hand."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hand_bench import HandBench
from PIL import Image

from diptych.data.images import decode_image
from diptych.data.painted_words import paint_word
from diptych.evaluation.protocols.modality_conflict import measure

COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}
NAMES = list(COLOURS)


def file_of(name: str) -> dict[str, Any]:
    file = BytesIO()
    Image.new("RGB", (60, 60), COLOURS[name]).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def looks(value: Any) -> torch.Tensor:
    pixel = np.asarray(decode_image(value, mode="RGB"))[0, 0]
    return torch.tensor([float(tuple(int(v) for v in pixel) == COLOURS[name]) for name in NAMES])


def reads(value: Any) -> torch.Tensor:
    """Which of the names is painted on the picture; the colour where none is."""
    pixels = np.asarray(decode_image(value, mode="RGB"))
    blank = Image.fromarray(np.broadcast_to(pixels[:1, :1], pixels.shape).copy())
    written = [float((np.asarray(paint_word(blank, name)) == pixels).all()) for name in NAMES]
    return torch.tensor(written) if any(written) else looks(value)


def words(text: str) -> torch.Tensor:
    return torch.tensor([float(name in text.split()) for name in NAMES])


def bench(image: Any) -> HandBench:
    rows = [name for name in NAMES for _ in range(3)]
    return HandBench({"image": [file_of(name) for name in rows], "label": rows}, image=image, text=words)


def test_a_reader_is_taken_in():
    found = measure(bench(reads), templates=["{}"])
    assert found.numbers["accuracy"] == found.numbers["agreeing_accuracy"] == 1.0
    assert found.numbers["word_wins"] == 1.0 and found.numbers["conflicting_accuracy"] == 0.0
    assert found.numbers["scrambled_accuracy"] == 1.0  # no name is written there, so the colour counts
    assert found.numbers["word_wins_plain"] == 0.0 and found.chance["word_wins"] == pytest.approx(1 / 3)
    assert len(found.shown) == 9


def test_one_who_looks_is_not():
    found = measure(bench(looks), templates=["{}"], most=5)
    assert found.numbers["word_wins"] == 0.0 and found.numbers["conflicting_accuracy"] == 1.0
    assert len(found.items["word_wins"]) == 5


def test_refusals():
    one = HandBench({"image": [file_of("red")], "label": ["red"]}, image=looks, text=words)
    with pytest.raises(ValueError, match="has one class"):
        measure(one, templates=["{}"])
