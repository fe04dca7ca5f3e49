"""A small collection whose captions are all distinct, and a model that has learned a part of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from face_models import untrained
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.data.pairs import prepare
from diptych.data.sources import open_table
from diptych.faces import as_open_clip


@pytest.fixture(scope="session")
def table(shapes: Path) -> Dataset:
    """The shapes with a number in every caption, so that no two images share one, and with their colours."""
    rows = open_table(shapes)
    rows = rows.map(
        lambda row, i: {"text": [f"{i}: {text}" for text in row["text"]], "colour": row["text"][0].split()[1]},
        with_indices=True,
    )
    pairs = prepare(rows, untrained(["a"]).processors)
    pixels = pairs.views["image"].take(np.arange(len(rows)))["pixels"].flatten(1)
    assert len(pixels.unique(dim=0)) == len(rows)  # equal pictures would tie
    return rows


@pytest.fixture(scope="session")
def learned(table: Dataset) -> Model:
    """Neither at chance nor perfect."""
    model = untrained([text for texts in table["text"][:] for text in texts])
    pairs, face = prepare(table, model.processors), as_open_clip(model)
    images = pairs.views["image"].take(np.arange(len(table)))["pixels"].float() / 255
    texts = face.tokenizer([texts[1] for texts in table["text"][:]])
    optimizer = torch.optim.Adam(face.parameters(), lr=3e-3)
    for _ in range(25):
        image, text, scale = face(images, texts)
        logits, own = scale * image @ text.T, torch.arange(len(images))
        loss = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
