"""A head that gives an image several embeddings: one of all of it, and one of each part of a grid over it.

    e_0 = unit(P mean of all tokens),    e_k = unit(P mean of the tokens in part k),    k = 1 .. size^2

with one projection P. Parts overlap where the tokens' grid cannot be shared out evenly. What is small in a picture
is a small share of its mean, and a large one of its part's. Use it with `MaxOverParts`.

Source: Liu et al. 2025 (SORCE), arXiv 2505.24441, where a language model is asked for each region; here tokens of an
image tower are averaged in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features


class PartsProjection(nn.Module):
    """Tokens that lie in a grid to unit vectors of the whole and of its parts: a head for the space `"tokens"`.

    Args:
        features: width of the encoder's tokens, which need not be that of its pooled features.
        width: of the embeddings.
        size: parts along each side.
    """

    kind = "late"  # of the space in an index
    reads_tokens = True

    def __init__(self, features: int, width: int, *, size: int = 2) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is {size}; it must be at least 1")
        self.features, self.width, self.size = features, width, size
        self.norm, self.linear = nn.LayerNorm(features), nn.Linear(features, width, bias=False)

    def forward(self, features: Features) -> Tensor:
        """`[N, T, features]` to `[N, 1 + size^2, width]`, each of length 1; the first is of the whole.

        Raises:
            ValueError: if the tokens lie in no grid of two sides, or are fewer along one than there are parts.
        """
        tokens, grid = features.tokens, features.grid
        if (
            tokens is None
            or grid is None
            or len(grid) != 2
            or min(grid) < self.size
            or tokens.shape[1] != grid[0] * grid[1]
        ):
            found = "no tokens" if tokens is None else f"{tokens.shape[1]} tokens in the grid {grid}"
            raise ValueError(
                f"an image is cut into {self.size} x {self.size} parts of its tokens' grid; this tower gives {found}"
            )
        x = tokens.to(self.linear.weight.dtype)
        laid = x.transpose(1, 2).unflatten(2, grid)  # [N, features, height, width]
        parts = F.adaptive_avg_pool2d(laid, self.size).flatten(2).transpose(1, 2)
        every = torch.cat([x.mean(1, keepdim=True), parts], 1)
        return F.normalize(self.linear(self.norm(every)).float(), dim=-1)
