"""The relative difference by hand, a known shift found and taken out, and both ways of having two renderings."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from hand_bench import HandBench, grey
from PIL import Image

from diptych.evaluation.protocols.source_bias import measure, relative_delta, render

COUNT = 8
TOWARDS = torch.eye(COUNT + 2)


def pair_bench(*, bonus: float) -> HandBench:
    """Eight things, each in two styles; the second style adds something that every text has too."""
    rows: dict[str, list[Any]] = {"image": [], "thing": [], "style": [], "text": []}
    for thing in range(COUNT):
        for style in ("photo", "drawn"):
            rows["image"].append(f"{thing} {style}")
            rows["thing"].append(str(thing))
            rows["style"].append(style)
            rows["text"].append([f"{thing}"])

    def image(value: str) -> torch.Tensor:
        thing, style = value.split()
        return TOWARDS[int(thing)] + (TOWARDS[COUNT] * bonus if style == "drawn" else TOWARDS[COUNT + 1] * abs(bonus))

    def text(value: str) -> torch.Tensor:
        return TOWARDS[int(value)] + 0.3 * TOWARDS[COUNT]

    return HandBench(rows, image=image, text=text)


def test_what_texts_have_too_is_preferred_and_is_the_shift():
    found = measure(pair_bench(bonus=0.3), made=None, by="thing", source="style", real="photo", ks=[1, 2])
    assert found.numbers["made_first"] == 1.0 and found.numbers["made_recall@1"] == 1.0
    assert found.numbers["real_recall@1"] == 0.0 and found.numbers["relative_delta@1"] == -2.0
    assert found.numbers["real_recall@2"] == 1.0 and found.numbers["relative_delta@2"] == 0.0
    assert found.numbers["relative_delta_mrr"] == pytest.approx(2 * (0.5 - 1) / 1.5)
    assert found.numbers["consistency"] == pytest.approx(1.0) and found.numbers["separable"] == 1.0
    # Without the shift both renderings of a thing are the same but for rounding: neither is before the other by much.
    assert found.numbers["made_recall@2_without_shift"] == found.numbers["real_recall@2_without_shift"] == 1.0


def test_what_texts_lack_is_put_last():
    found = measure(pair_bench(bonus=-0.3), made=None, by="thing", source="style", real="photo", ks=[1])
    assert found.numbers["relative_delta@1"] == 2.0 and found.numbers["made_first"] == 0.0


def test_relative_delta_by_hand():
    assert relative_delta(0.0, 0.0) == 0.0 and relative_delta(0.3, 0.1) == pytest.approx(1.0)


def test_renderings_made_by_rule():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    files = []
    for shift in range(4):
        file = BytesIO()
        Image.fromarray(np.roll(noise, 8 * shift, 0)).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    rough = np.asarray(Image.fromarray(noise), float)
    smooth = np.asarray(render(Image.fromarray(noise), "smoothed"), float)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.4 * np.abs(np.diff(rough, axis=0)).mean()
    bench = HandBench(
        {"image": files, "text": [[str(i)] for i in range(4)]}, image=grey, text=lambda t: torch.eye(16)[int(t)]
    )
    found = measure(bench, made="compressed", ks=[1])
    assert 0 <= found.numbers["made_first"] <= 1 and "made by rule" in found.notes[0]
    assert len(found.items["made_first"]) == 4


def test_refusals():
    bench = pair_bench(bonus=0.1)
    with pytest.raises(ValueError, match="give either `made`"):
        measure(bench, by="thing")
    with pytest.raises(ValueError, match="no row has 'painted' in column 'style'"):
        measure(bench, made=None, by="thing", source="style", real="painted")
    few = HandBench({"image": ["0 photo"], "text": [["0"]]}, image=bench.image_vector, text=bench.text_vector)
    with pytest.raises(ValueError, match="1 pairs of pictures"):
        measure(few)
