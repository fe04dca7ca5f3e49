"""A learned vocabulary over an embedding: a row as weights of a few terms that both towers share.

    h = projection(x)                                  of unit length, the same that the dense space has
    y(v) = relu(s <h, c_v / |c_v|> - b_v)              of V learned vectors c_v
    weight(v) = y(v) among the `topk` largest, else 0; the row then has length 1

Use it where an inverted index must rank nearly as dense vectors do: terms are free to mean what pictures and texts of
the collection need, and so few are enough. They have no names; where scores must be explained by words take `WordHead`
or `LexicalHead`, which lose more. Trained beside a contrast of the dense vectors, which keeps h good; terms that are
dropped get no gradient.

Sources: sparse codes of an embedding, Wen et al. 2025 (CSR), arXiv 2503.01776; one codebook for both towers,
Chen et al. 2023 (FDT), arXiv 2303.14865. Bias, scale and length are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features
from diptych.encoders.codebook import Codebook


class TermHead(nn.Module):
    """Pooled features to weights of learned terms, none below zero.

    Args:
        projection: to unit vectors as wide as the codebook; may be the dense head itself.
        codebook: the terms' vectors; the same object for both towers.
        topk: the most terms that a row keeps, 1 to the size of the codebook.
        scale: where the learned s starts, above 0.
    """

    kind = "lexical"  # of the space in an index

    def __init__(self, projection: nn.Module, codebook: Codebook, *, topk: int, scale: float = 10.0) -> None:
        super().__init__()
        if not 1 <= topk <= codebook.size:
            raise ValueError(f"topk is {topk}; expected 1 to the {codebook.size} terms of the codebook")
        if scale <= 0:
            raise ValueError(f"scale is {scale}; it must be above 0")
        self.projection, self.codebook, self.topk, self.scale = projection, codebook, topk, scale
        self.vocab = codebook.size
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.zeros(codebook.size))

    def forward(self, features: Features) -> Tensor:
        """`[N, V]` float32 or better, of unit length, at most `topk` of each row above zero."""
        h = self.projection(features)
        terms = F.normalize(self.codebook.codes, dim=-1)
        weights = self.log_scale.exp() * (h @ terms.T.to(h.dtype)) - self.bias
        weights = weights.to(torch.promote_types(weights.dtype, torch.float32)).relu()
        best = weights.detach().topk(self.topk, dim=1).indices
        return F.normalize(weights * torch.zeros_like(weights).scatter(1, best, 1.0), dim=-1)
