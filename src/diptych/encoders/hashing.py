"""Binary codes: a head that says of every row K yes-or-no bits, and what packs them eight to a byte.

    code(x) = sign(h(x)) in {-1, +1}^K,    h = linear(norm(x)), beside it a small MLP where one is asked for

A code of 64 bits takes 8 bytes where a vector of 256 numbers takes 1024, and two codes are compared by counting the
bits in which they differ. The sign has no useful gradient, so training needs a stand-in, of which there are two:

- straight through (default): the sign going forward, and its gradient taken for that of h. Training sees the very
  codes that are used later.
- relaxed: tanh(h) going forward, which `Quantization` then drives towards -1 and +1.

Use it beside or in place of `Projection`, as `heads[tower]["code"]`, with the scorer `Hamming`.

Sources: Bengio et al. 2013 (the straight-through estimator, without the sigmoid's derivative), arXiv 1308.3432;
tanh in training as in Cao et al. 2017 (HashNet, which sharpens it step by step; here it stays), arXiv 1702.00758.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from diptych.core.embedding import Features


class HashHead(nn.Module):
    """Pooled features to codes of K bits: -1 or +1 each.

    Args:
        features: width of the encoder's features.
        bits: K, of the code; a multiple of 8 can be packed.
        hidden: width of an MLP beside the linear map; 0 for the linear map alone. Frozen towers want one.
        dropout: in the MLP.
        layer_norm: whether a LayerNorm comes first; towers that end in one need no other.
        relaxed: whether training sees tanh(h), between -1 and 1, in place of the code.
    """

    kind = "code"  # of the space in an index

    def __init__(
        self,
        features: int,
        bits: int,
        *,
        hidden: int = 0,
        dropout: float = 0.0,
        layer_norm: bool = True,
        relaxed: bool = False,
    ) -> None:
        super().__init__()
        if bits < 1:
            raise ValueError(f"bits is {bits}; a code has at least 1")
        self.features, self.bits, self.hidden, self.dropout = features, bits, hidden, dropout
        self.layer_norm, self.relaxed = layer_norm, relaxed
        self.norm = nn.LayerNorm(features) if layer_norm else None
        self.linear = nn.Linear(features, bits)
        self.mlp = None
        if hidden:
            self.mlp = nn.Sequential(
                nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, bits)
            )

    def forward(self, features: Features) -> Tensor:
        """`[N, features]` to `[N, bits]`: -1 and +1; in training, where relaxed, between them."""
        x = features.pooled if self.norm is None else self.norm(features.pooled)
        h = self.linear(x)
        if self.mlp is not None:
            h = h + cast(Tensor, self.mlp(x))
        h = h if h.dtype == torch.float64 else h.float()
        return h.tanh() if self.training and self.relaxed else sign_through(h)


def signs(x: Tensor) -> Tensor:
    """-1 where `x` is below 0, else +1: unlike `torch.sign`, never 0."""
    return torch.where(x < 0, -1.0, 1.0).to(x.dtype)


def sign_through(x: Tensor) -> Tensor:
    """`signs(x)`, whose gradient is taken to be that of `x` itself."""
    return cast(Tensor, _SignThrough.apply(x))


class _SignThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return signs(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # type: ignore[override]
        return grads[0]


def pack(codes: Tensor) -> Tensor:
    """Eight bits to a byte, the first the highest, as `numpy.packbits` has it.

    Args:
        codes: `[..., bits]` numbers; a bit is set where one is not below 0.

    Returns:
        `[..., bits / 8]` uint8.

    Raises:
        ValueError: if the number of bits is not a multiple of 8.

    Example:
        >>> pack(torch.tensor([[-1.0, -1, -1, -1, -1, 1, -1, 1]]))
        tensor([[5]], dtype=torch.uint8)
    """
    bits = codes.shape[-1]
    if bits % 8:
        raise ValueError(f"codes of {bits} bits do not fill bytes; make them of {-(-bits // 8) * 8} bits")
    eights = (codes >= 0).view(*codes.shape[:-1], bits // 8, 8)
    return (eights * _values(codes.device)).sum(-1, dtype=torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """What `pack` packed: `[..., bytes]` uint8 to `[..., 8 * bytes]` float32, -1 and +1.

    Example:
        >>> unpack(torch.tensor([[5]], dtype=torch.uint8))
        tensor([[-1., -1., -1., -1., -1.,  1., -1.,  1.]])
    """
    if packed.dtype != torch.uint8:
        raise ValueError(f"packed codes are uint8, not {packed.dtype}")
    ones = (packed[..., None] & _values(packed.device)) != 0
    return torch.where(ones, 1.0, -1.0).flatten(-2)


def _values(device: torch.device) -> Tensor:
    return torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=device)
