"""A model whose vectors can be worked by hand: a picture is its mean colour, a text the sum of its colour words."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.data.processors import ImageProcessor
from diptych.scoring import Dot

WORDS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "rot": (1.0, 0.0, 0.0),
    "blau": (0.0, 0.0, 1.0),
}
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "orange": (255, 127, 0)}


class ColourWords:
    """Texts to the sums of their colour words; (1, 1, 1) where there is none."""

    column = "text"

    def fit(self, values: Sequence[Any]) -> ColourWords:
        return self

    def __call__(self, values: Sequence[str]) -> dict[str, Tensor]:
        return {"vector": torch.tensor([self.one(text) for text in values])}

    @staticmethod
    def one(text: str) -> list[float]:
        found = [WORDS[word] for word in text.replace(".", "").split() if word in WORDS]
        return np.sum(found, 0).tolist() if found else [1.0, 1.0, 1.0]


class Seen(nn.Module):
    """A tower that counts the rows it was given; its parameter keeps it from being taken for frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.rows = 0

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        (value,) = inputs.values()
        self.rows += len(value)
        pooled = value if value.dim() == 2 else value.float().mean((2, 3)) / 255
        return Features(pooled * self.weight)


class Unit(nn.Module):
    def __init__(self) -> None:
        super().__init__()

    def forward(self, features: Features) -> Tensor:
        return F.normalize(features.pooled, dim=-1)


def colour_model(*, texts: bool = True) -> Model:
    towers: dict[str, nn.Module] = {"image": Seen(), **({"text": Seen()} if texts else {})}
    processors: dict[str, Any] = {"image": ImageProcessor(4), **({"text": ColourWords()} if texts else {})}
    return Model(towers, {name: {"dense": Unit()} for name in towers}, {"dot": Dot(1.0)}, processors).eval()


def rows_run(model: Model) -> dict[str, int]:
    """How many rows each tower has run on, those that a precision was tried on apart."""
    return {name: tower.rows for name, tower in model.towers.items() if isinstance(tower, Seen)}


def picture(colour: str | Sequence[int]) -> bytes:
    buffer = io.BytesIO()
    rgb = RGB[colour] if isinstance(colour, str) else tuple(int(one) for one in colour)
    Image.new("RGB", (4, 4), rgb).save(buffer, "PNG")
    return buffer.getvalue()


def colour_table(colours: Sequence[str | Sequence[int]], **columns: list[Any]) -> Dataset:
    """Pictures of one colour each; `text` and `id` are made unless given."""
    count = len(colours)
    given: dict[str, Any] = {
        "image": [{"bytes": picture(one), "path": None} for one in colours],
        "text": [[] for _ in range(count)],
        "id": [f"{i}" for i in range(count)],
        **columns,
    }
    table = Dataset.from_dict(given)
    return table.cast_column("image", datasets.Image(decode=False)).cast_column(
        "text", datasets.List(datasets.Value("string"))
    )
