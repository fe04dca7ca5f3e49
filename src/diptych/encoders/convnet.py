"""A small convolutional image encoder that is quick on a CPU: patches first, then residual stages.

Dense 3x3 convolutions in channels-last order: on processors with matrix units they beat depthwise ones.
The pooled features keep a coarse grid of what is where; an average over all places would lose it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.encoders.pixels import PixelNorm


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of `[N, C, H, W]` at each place."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """`x + conv(gelu(conv(norm(x))))`, near the identity at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.conv2.weight, std=0.3 / (9 * width) ** 0.5)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.gelu(self.conv1(self.norm(x))))


class ConvNet(Encoder):
    """Patches, then stages of residual blocks, each stage at half the resolution of the one before.

    Args:
        channels: of the input, 1 or 3.
        patch: side of a patch in pixels.
        widths: of each stage.
        depths: residual blocks of each stage.
        grid: the pooled features are `grid x grid` averages side by side; 1 is the plain average.
        mean, std: of the pixels on [0, 1], subtracted and divided by.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        patch: int = 8,
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (2, 2, 2),
        grid: int = 4,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.25,),
    ) -> None:
        super().__init__()
        self.channels, self.patch, self.widths, self.depths, self.grid = channels, patch, widths, depths, grid
        self.mean, self.std = mean, std
        self.width = widths[-1] * grid**2
        self.normalise = PixelNorm(mean, std)
        self.stem = nn.Conv2d(channels, widths[0], patch, stride=patch)
        layers: list[nn.Module] = []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if i:
                layers += [ChannelNorm(widths[i - 1]), nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1)]
            layers += [Residual(width) for _ in range(depth)]
        self.blocks = nn.ModuleList([*layers, ChannelNorm(widths[-1])])
        self.to(memory_format=torch.channels_last)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`pixels` `[N, C, H, W]` uint8 to the feature map of the stem."""
        pixels = self.normalise(inputs["pixels"])
        return Tokens(self.stem(pixels.contiguous(memory_format=torch.channels_last)))

    def contextualise(self, tokens: Tokens) -> Tokens:
        x = tokens.x
        for block in self.blocks:
            x = block(x)
        return Tokens(x)

    def pool(self, tokens: Tokens) -> Features:
        """Feature map `[N, D, h, w]` to `grid * grid * D` features, and its places as tokens `[N, h * w, D]`."""
        x = tokens.x
        at = x if tuple(x.shape[2:]) == (self.grid, self.grid) else F.adaptive_avg_pool2d(x, self.grid)
        return Features(at.flatten(1), x.flatten(2).transpose(1, 2), grid=tuple(x.shape[2:]))
