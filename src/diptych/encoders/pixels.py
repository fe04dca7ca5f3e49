"""What image encoders share: bytes to normalised floats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """uint8 `[N, C, H, W]` in 0..255 to floats, `(pixels / 255 - mean) / std`.

    Args:
        mean, std: of each channel on [0, 1], or one for all.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        shift = torch.tensor(tuple(mean), dtype=torch.float32).view(1, -1, 1, 1)
        scale = torch.tensor(tuple(std), dtype=torch.float32).view(1, -1, 1, 1)
        self.register_buffer("factor", 1 / (255 * scale), persistent=False)
        self.register_buffer("offset", -shift / scale, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.addcmul(
            self.get_buffer("offset"), pixels.to(self.get_buffer("factor").dtype), self.get_buffer("factor")
        )
