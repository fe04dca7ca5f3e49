"""What many tests share: a cache of their own, and a small real collection."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

COLOURS = ["red", "green", "blue", "black", "orange", "purple"]
SHAPES = ["circle", "square", "triangle"]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Every test session fills a cache of its own, and leaves the user's alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def draw_shapes(folder: Path, *, count: int = 72, seed: int = 0) -> Path:
    """A folder of drawn shapes with `metadata.jsonl`: two captions a picture, colours and shapes in words."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    lines = []
    for i in range(count):
        colour, shape = COLOURS[i % 6], SHAPES[i // 6 % 3]
        picture = Image.new("RGB", (40, 40), "white")
        x, y = random.integers(2, 14, 2)
        box, pen = (x, y, x + 22, y + 22), ImageDraw.Draw(picture)
        if shape == "triangle":
            pen.polygon([(x, y + 22), (x + 11, y), (x + 22, y + 22)], fill=colour)
        else:
            (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
        picture.save(folder / f"{i:03}.png")
        texts = [f"a {colour} {shape}", f"one {shape} drawn in {colour}, number {i}"]
        lines.append({"file_name": f"{i:03}.png", "text": texts, "shape": shape, "number": i})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 72 drawn shapes."""
    return draw_shapes(tmp_path_factory.mktemp("collections") / "shapes")
