"""Finite discrete tokens: an image and a text are both mixtures of a few vectors of one learned codebook.

    r(k) = max_t <q(x_t), c_k> / (sqrt(D) temperature)       of every real token t and code k
    w = sparsemax(r),      embedding = sum_k w(k) c_k / |sum_k w(k) c_k|

As both towers mix the same codes, what a patch and a word have in common must go through codes that mean it. The
weights w are sparse, none below zero and sum to 1. Both towers' heads must be given the same `Codebook`: it is then one
set of vectors while it trains; a checkpoint keeps a copy for each head, which give the same embeddings.

Source: Chen et al. 2023 (FDT), arXiv 2303.14865. The authors' own run starts at temperature 1000 and lowers it every
epoch; here it stays as it is given.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features
from diptych.encoders.linear import Linear
from diptych.encoders.over_tokens import head_tokens, largest_logits
from diptych.encoders.sparsemax import sparsemax


class Codebook(nn.Module):
    """Learned vectors.

    Args:
        size: how many.
        width: D of each.
        unit: whether they start at length 1, where only their directions are read: training turns long ones slowly.
    """

    def __init__(self, size: int, width: int, *, unit: bool = False) -> None:
        super().__init__()
        self.size, self.width, self.unit = size, width, unit
        codes = torch.randn(size, width)
        self.codes = nn.Parameter(codes / codes.norm(dim=1, keepdim=True) if unit else codes)


class CodebookHead(nn.Module):
    """Tokens to a unit vector, mixed of a codebook's vectors.

    Args:
        features: width of a token, or of the pooled features where these are read.
        codebook: which; the same object for both towers.
        temperature: the higher, the more codes take part.
        pooled: read the pooled features as if they were the one token: for frozen towers, of which only those are
            stored. Towers that give no tokens are read so anyway.
    """

    def __init__(self, features: int, codebook: Codebook, *, temperature: float = 1.0, pooled: bool = False) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        self.features, self.codebook, self.temperature, self.pooled = features, codebook, temperature, pooled
        self.width = width = codebook.width
        self.query = nn.Sequential(
            nn.LayerNorm(features), Linear(features, width), nn.GELU(), nn.LayerNorm(width), Linear(width, width)
        )

    @property
    def reads_tokens(self) -> bool:
        """Whether a tower's tokens are wanted, not its pooled features alone."""
        return not self.pooled

    def forward(self, features: Features) -> Tensor:
        """`[N, width]`, each row of length 1."""
        weights = self.weights(features)
        return F.normalize(weights @ self.codebook.codes.to(weights.dtype), dim=-1)

    def weights(self, features: Features) -> Tensor:
        """`[N, size]` in float32 or better: how much of each code; rows sum to 1, all alike without a real token."""
        tokens, mask = head_tokens(features, self.features, self.pooled)
        scores = largest_logits(self._scores, tokens, mask, self.codebook.size)
        scores = scores.masked_fill(~mask.any(1)[:, None], 0)
        return sparsemax(scores.to(torch.promote_types(scores.dtype, torch.float32)))

    def _scores(self, tokens: Tensor) -> Tensor:
        return self.query(tokens) @ self.codebook.codes.T / (self.width**0.5 * self.temperature)
