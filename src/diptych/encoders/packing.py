"""Token sequences without their padding: what acts on each token alone is computed for real tokens only."""

from __future__ import annotations

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

    STRIDE = 256

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        places = mask.numel()
        real = mask.flatten().nonzero().flatten()
        spare = -len(real) % self.STRIDE
        self.places = F.pad(real, (0, spare), value=places)  # [M]; `places` is one row beyond the last

    def pack(self, x: Tensor) -> Tensor:
        """`[N, T, D]` to `[M, D]`."""
        return F.pad(x.flatten(0, 1), (0, 0, 0, 1))[self.places]

    def unpack(self, x: Tensor) -> Tensor:
        """`[M, D]` to `[N, T, D]`, with zeros for padding."""
        n, t = self.mask.shape
        out = x.new_zeros(n * t + 1, x.shape[1]).index_copy(0, self.places, x)
        return out[:-1].view(n, t, -1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens: `[N, T, D]` and `[N, T]` to `[N, D]`; zero where there are none."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention of `[N, H, T, D]` under `[N, T]`.

    On CPUs it is written out: there the backward of the fused kernel is several times slower at the
    lengths of captions.
    """
    look = mask[:, None, None, :]
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=look)
    weights = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    return weights.masked_fill(~look, torch.finfo(weights.dtype).min).softmax(-1).to(v.dtype) @ v
