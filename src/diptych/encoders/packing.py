"""Token sequences without their padding: what acts on each token alone is computed for real tokens only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class Packing:
    """Where the real tokens of `[N, T]` lie.

    The packed length is rounded up to a multiple of `STRIDE`, so that matrix shapes repeat from batch to
    batch and the kernels prepared for them are used again; the spare places hold nothing and go nowhere.

    Args:
        mask: `[N, T]` bool, True where a token is real.
    """

    STRIDE = 64

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        places = mask.numel()
        real = mask.flatten().nonzero().flatten()
        spare = -len(real) % self.STRIDE
        self.places = F.pad(real, (0, spare), value=places)  # [M]; `places` is one row beyond the last
        # [N * T]; where each place is packed, one row beyond the last for padding.
        self.packed = torch.full_like(mask, len(self.places), dtype=torch.long).flatten()
        self.packed[real] = torch.arange(len(real), device=mask.device)

    def pack(self, x: Tensor) -> Tensor:
        """`[N, T, D]` to `[M, D]`."""
        return _Rows.apply(x.flatten(0, 1), self.places, self.packed)  # type: ignore[return-value]

    def unpack(self, x: Tensor) -> Tensor:
        """`[M, D]` to `[N, T, D]`, with zeros for padding."""
        return _Rows.apply(x, self.packed, self.places).view(*self.mask.shape, x.shape[1])  # type: ignore[union-attr]


class Padded:
    """All places of `[N, T]` kept: for exporting, where no shape may depend on which tokens are real.

    Args:
        mask: `[N, T]` bool, True where a token is real.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def pack(self, x: Tensor) -> Tensor:
        """`[N, T, D]` as it is."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """`[N, T, D]` with zeros for padding."""
        return x * self.mask[..., None]


Packed = Packing | Padded


def packing_of(mask: Tensor) -> Packed:
    """How texts of this mask are packed: not at all while a model is exported."""
    return Padded(mask) if torch.compiler.is_exporting() else Packing(mask)


class _Rows(torch.autograd.Function):
    """Rows of `x` by number, zeros for the number beyond the last; its gradient takes the rows back, adding nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, take: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return _and_zeros(x).index_select(0, take)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _and_zeros(grads[0]).index_select(0, ctx.saved_tensors[0]), None, None


def _and_zeros(x: Tensor) -> Tensor:
    """`x` with a row of zeros after its last."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])])


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens: `[N, T, D]` and `[N, T]` to `[N, D]`; zero where there are none."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Softmax attention of `[N, H, T, D]` under `[N, T]`, or each token with itself and those before it.

    On CPUs it is written out: there the backward of the fused kernel is several times slower at the
    lengths of captions.
    """
    if q.device.type != "cpu":
        look = None if mask is None else mask[:, None, None, :]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=look, is_causal=causal)
    weights = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    hide = hidden(mask, causal, weights)
    if hide is not None:
        weights = weights.masked_fill(hide[:, None], torch.finfo(weights.dtype).min)
    return weights.softmax(-1).to(v.dtype) @ v


def hidden(mask: Tensor | None, causal: bool, weights: Tensor) -> Tensor | None:
    """Which tokens (last) a token (second to last) may not look at: `[N or 1, T or 1, T]`; None if it may at all.

    Raises:
        ValueError: if there is a mask and the attention is causal: causal rows are padded at their end, where no
            real token looks.
    """
    if mask is not None and causal:
        raise ValueError("causal attention takes no mask: pad the rows at their end")
    if mask is not None:
        return ~mask[:, None, :]
    t = weights.shape[-1]
    return torch.ones(1, t, t, dtype=torch.bool, device=weights.device).triu(1) if causal else None
