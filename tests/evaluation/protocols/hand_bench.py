"""A bench whose embeddings are given by hand: what a picture and a text are is worked out by two functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.data.images import decode_image
from diptych.data.keys import make_keys
from diptych.evaluation.bench import Bench
from diptych.scoring import Dot

Vector = Callable[[Any], Sequence[float] | Tensor]


class HandBench(Bench):
    """Rows with vectors of their own.

    Args:
        rows: column -> values; `text` (lists) and `id` are filled in where there are none.
        image: a row's value of `image`, or a picture that a task made -> its vector.
        text: a string -> its vector.
        train: what may be learned from.
    """

    def __init__(
        self,
        rows: dict[str, list[Any]],
        *,
        image: Vector,
        text: Vector,
        train: HandBench | None = None,
        folder: Path | None = None,
    ) -> None:
        count = len(next(iter(rows.values())))
        rows = {"text": [[] for _ in range(count)], "id": [str(i) for i in range(count)], **rows}
        self.rows, self.image_vector, self.text_vector, self.learned = rows, image, text, train
        self.folder, self.asked, self.model = folder, {}, None  # type: ignore[assignment]

    @cached_property
    def pairs(self) -> Any:
        plain = {name: values for name, values in self.rows.items() if not isinstance(values[0], Image.Image | Tensor)}
        table = Dataset.from_dict(plain)
        return SimpleNamespace(table=table, keys=make_keys(self.rows["id"], self.rows["text"], needs_text=False))

    def __len__(self) -> int:
        return len(self.rows["id"])

    @cached_property
    def image(self) -> Embedding:
        return self.images(self.rows["image"])

    @cached_property
    def text(self) -> Embedding:
        return self.texts(self.captions)

    def texts(self, strings: Sequence[str]) -> Embedding:
        return _unit([self.text_vector(one) for one in strings])

    def images(self, values: Sequence[Any]) -> Embedding:
        return _unit([self.image_vector(one) for one in values])

    @property
    def scorer(self) -> Dot:
        return Dot(1.0)

    @cached_property
    def train(self) -> Bench:
        if self.learned is None:
            raise ValueError("there are no rows to learn from")
        return self.learned


def _unit(vectors: Sequence[Any]) -> Embedding:
    return Embedding({"dense": F.normalize(torch.stack([torch.as_tensor(one).float() for one in vectors]), dim=1)})


def bag(words: Sequence[str]) -> Vector:
    """A text's vector by which of some words it has, order lost; one more dimension so that none is zero."""
    return lambda text: torch.tensor([float(word in text.lower().split()) for word in words] + [0.1])


def grey(value: Any) -> Tensor:
    """A picture's pixels at 4 x 4, from -1 to 1."""
    picture = value if isinstance(value, Image.Image) else decode_image(value)
    return torch.from_numpy(np.asarray(picture.convert("L").resize((4, 4)), np.float32).ravel().copy()) / 127.5 - 1
