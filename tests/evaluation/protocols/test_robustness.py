"""What is lost is what must be: a model of colours bears coarse pixels and no greyness, and no words in capitals."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from hand_bench import HandBench
from PIL import Image

from diptych.data.images import decode_image
from diptych.evaluation.protocols.robustness import measure

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "yellow": (200, 200, 40)}


def file_of(colour: tuple[int, int, int]) -> dict:
    file = BytesIO()
    Image.new("RGB", (16, 16), colour).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def mean_colour(value: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(decode_image(value), np.float32).mean((0, 1))) / 255 - 0.4  # type: ignore[arg-type]


def named_colour(text: str) -> torch.Tensor:
    known = COLOURS.get(text.strip(), (0, 0, 0))
    return torch.tensor(known, dtype=torch.float32) / 255 - 0.4


def bench(pictures: int = 4) -> HandBench:
    names = list(COLOURS)[:pictures]
    rows = {"image": [file_of(COLOURS[name]) for name in names], "text": [[name] for name in names]}
    return HandBench(rows, image=mean_colour, text=named_colour)


def test_greyness_takes_all_and_noise_without_bias_nothing():
    found = measure(
        bench(), corruptions=["greyness", "pixelation"], perturbations=["lower", "upper"], severities=[1, 5]
    )
    assert found.numbers["t2i_recall@1"] == found.numbers["i2t_recall@1"] == found.numbers["recall"] == 1.0
    assert found.numbers["relative_pixelation"] == 1.0 and found.numbers["relative_lower"] == 1.0
    grey = found.numbers["relative_greyness"]
    assert grey < 1.0
    assert found.numbers["relative_robustness"] == pytest.approx((1 + grey) / 2)
    assert found.numbers["mean_corruption_drop"] == pytest.approx((1 - grey) / 2)
    assert found.curves["greyness"].points[0] == (0, 1.0) and found.curves["greyness"].points[1] == (1, 1.0)
    assert found.curves["greyness"].points[2][1] == pytest.approx(2 * grey - 1)
    # In capitals no colour is known: all texts are alike, and every tie is lost.
    assert found.numbers["relative_upper"] == 0.0
    assert found.numbers["mean_perturbation_drop"] == pytest.approx(0.5)


def test_only_so_many_pictures_are_measured_and_a_text_keeps_its_own():
    found = measure(bench(), corruptions=[], perturbations=["lower"], severities=[1], most=2)
    assert "2 pictures and 2 texts" in found.notes[0]
    assert "relative_robustness" not in found.numbers and found.numbers["relative_robustness_text"] == 1.0


def test_refusals():
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(bench(), corruptions=[], perturbations=[])
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(bench(), severities=[6])
    blind = bench(2)
    blind.text_vector = lambda text: [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="there is nothing to lose"):
        measure(blind, corruptions=["jpeg"], perturbations=[])
