"""Any image model of `transformers`, wrapped: bytes in, its own pooled vector or a token's out.

    pixels / 255 -> (x - mean) / std -> module -> pooled, and the patches of the last hidden states

Use it for towers that have no faster twin of ours; answers are those of the library, because its own code computes
them. Resizing is the `ImageProcessor`'s, normalising is done here.

Source: Wolf et al. 2020, Transformers, arXiv 1910.03771.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.encoders.hub import Answer, built_module, layers_of, own_pooling, width_of
from diptych.encoders.pixels import PixelNorm

ImagePooling = Literal["own", "first", "mean"]


class HubImage(Encoder):
    """A `transformers` image encoder; the patches of its last hidden states are the tokens.

    Args:
        config: the module's configuration as plain values, with `model_type`.
        pooling: `"own"`, the module's `pooler_output`; `"first"` token; `"mean"` of the patches. Without `"own"`, a
            pooling layer that the module can do without is left out.
        width: D of the pooled features; None for that of the hidden states.
        mean, std: of each channel on [0, 1].

    Class and register tokens come before the patches and are not among the tokens where the grid is known.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        pooling: ImagePooling = "own",
        width: int | None = None,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        self.config, self.pooling = dict(config), pooling
        self.mean, self.std = tuple(mean), tuple(std)
        self.normalise = PixelNorm(self.mean, self.std)
        self.backbone = built_module(self.config, pooler=pooling == "own")
        self.width = width or width_of(self.backbone.config)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The backbone's layers; the whole of it as one block where it has no list of them. Not registered twice."""
        return layers_of(self.backbone)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`pixels` `[N, C, H, W]` uint8, normalised; what the backbone itself embeds."""
        pixels = self.normalise(inputs["pixels"])
        patch = self.config.get("patch_size")
        grid = (pixels.shape[2] // patch, pixels.shape[3] // patch) if isinstance(patch, int) else None
        return Tokens(pixels, grid=grid)

    def contextualise(self, tokens: Tokens) -> Answer:
        if self.config["model_type"] == "siglip2_vision_model":
            said = self.backbone(**_cut(tokens.x, self.config["patch_size"]))
        else:
            said = self.backbone(pixel_values=tokens.x)
        x = said.last_hidden_state
        pooled = own_pooling(said, self.backbone) if self.pooling == "own" else None
        if x.dim() == 4:  # a feature map [N, D, H, W]
            return Answer(x.flatten(2).transpose(1, 2), grid=tuple(x.shape[2:]), pooled=pooled)
        return Answer(x, grid=tokens.grid, pooled=pooled)

    def pool(self, tokens: Tokens) -> Features:
        x, grid = tokens.x, tokens.grid
        before = x.shape[1] - grid[0] * grid[1] if grid else 0  # class and register tokens
        grid = grid if before >= 0 else None  # hierarchical models merge patches
        patches = x[:, before:] if grid else x
        if self.pooling == "own":
            assert isinstance(tokens, Answer) and tokens.pooled is not None
            return Features(tokens.pooled, patches, grid=grid)
        return Features(x[:, 0] if self.pooling == "first" else patches.mean(1), patches, grid=grid)


def _cut(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """Normalised images as NaFlex takes them: patches `[N, T, patch * patch * C]`, all real, and how many a side."""
    n, c, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    cut = pixels.view(n, c, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": cut.reshape(n, rows * columns, patch * patch * c),
        "pixel_attention_mask": torch.ones(n, rows * columns, dtype=torch.long, device=pixels.device),
        "spatial_shapes": torch.tensor([[rows, columns]], device=pixels.device).expand(n, 2),
    }
