"""Heads map an encoder's features to a space."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features


class Projection(nn.Module):
    """Pooled features to unit vectors: a linear map, or a small MLP beside it.

    Args:
        features: width of the encoder's features.
        width: of the embedding.
        hidden: width of the MLP; 0 for the linear map alone. Frozen towers want one.
        dropout: in the MLP.

    The MLP is LayerNorm, linear, GELU, dropout, linear, added to the linear map of the normalised features.
    """

    def __init__(self, features: int, width: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.features, self.width, self.hidden, self.dropout = features, width, hidden, dropout
        self.norm = nn.LayerNorm(features)
        self.linear = nn.Linear(features, width, bias=False)
        self.mlp = None
        if hidden:
            self.mlp = nn.Sequential(
                nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
            )

    def forward(self, features: Features) -> Tensor:
        """`[N, features]` to `[N, width]`, each row of length 1."""
        x = self.norm(features.pooled)
        y = self.linear(x)
        if self.mlp is not None:
            y = y + cast(Tensor, self.mlp(x))
        return F.normalize(y.float(), dim=-1)
