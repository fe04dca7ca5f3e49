"""The small model that the faces are tried on."""

from __future__ import annotations

import torch

from diptych.core.model import Model
from diptych.models import Towers, dual_encoder
from diptych.scoring import Dot


def untrained(texts: list[str], *, seed: int = 0, bias: float | None = None) -> Model:
    torch.manual_seed(seed)
    towers = Towers(
        image_size=32,
        patch=4,
        widths=(16, 32),
        depths=(1, 1),
        text_width=32,
        text_depth=1,
        vocab_size=300,
        max_length=40,
        width=16,
    )
    model = dual_encoder(towers, parts={"dot": Dot(bias=bias)})
    model.processors["text"].fit(texts)
    return model.eval()
