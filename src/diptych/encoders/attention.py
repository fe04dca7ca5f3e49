"""Self-attention of all heads from one product that holds queries, keys and values side by side.

    out = softmax(scale * q k^T) v,    scale = 1 / sqrt(width of a head)

On CPUs in bf16 it is written out as matrix products, forward and backward, with the probabilities kept: at the
lengths of captions and of patches the backward of the fused kernel takes ten times as long. Elsewhere the fused
kernel is the faster one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diptych.encoders.linear import fast_bf16
from diptych.encoders.packing import attention, hidden


def self_attention(qkv: Tensor, heads: int, *, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention of every row with itself.

    Args:
        qkv: `[N, T, 3 * D]`, for each token the queries of all heads, then their keys, then their values.
        heads: divides D.
        mask: `[N, T]` bool, True for tokens that may be looked at; None for all.
        causal: whether a token looks only at itself and those before it; takes no mask.

    Returns:
        `[N, T, D]`.
    """
    n, t, width = qkv.shape
    if fast_bf16(qkv) and qkv.dtype == torch.bfloat16:
        return _AttentionBF16.apply(qkv, heads, mask, causal)  # type: ignore[return-value]
    q, k, v = qkv.view(n, t, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return attention(q, k, v, mask, causal=causal).transpose(1, 2).reshape(n, t, width // 3)


class _AttentionBF16(torch.autograd.Function):
    """Heads lead, so that every product of a head and a row is one of a batch of contiguous matrices."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, mask: Tensor | None, causal: bool) -> Tensor:
        n, t, width = qkv.shape
        d = width // (3 * heads)
        with torch.autocast("cpu", enabled=False):
            q, k, v = qkv.view(n, t, 3, heads, d).permute(2, 3, 0, 1, 4).reshape(3, heads * n, t, d)
            scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=d**-0.5)
            hide = hidden(mask, causal, scores)
            if hide is not None:
                scores.view(heads, n, t, t).masked_fill_(hide, torch.finfo(scores.dtype).min)
            p = scores.softmax(-1, dtype=torch.float32).to(torch.bfloat16)
            mixed = (p @ v).view(heads, n, t, d)
        ctx.save_for_backward(q, k, v, p)
        ctx.heads = heads
        return mixed.permute(1, 2, 0, 3).reshape(n, t, heads * d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        q, k, v, p = ctx.saved_tensors
        heads, (rows, t, d) = ctx.heads, q.shape
        n = rows // heads
        g = grads[0].reshape(n, t, heads, d).permute(2, 0, 1, 3).reshape(q.shape)
        dqkv = q.new_empty(3, *q.shape)
        torch.bmm(p.transpose(1, 2), g, out=dqkv[2])
        ds = torch.ops.aten._softmax_backward_data(g @ v.transpose(1, 2), p, -1, p.dtype)
        torch.baddbmm(dqkv[0], ds, k, beta=0, alpha=d**-0.5, out=dqkv[0])
        torch.baddbmm(dqkv[1], ds.transpose(1, 2), q, beta=0, alpha=d**-0.5, out=dqkv[1])
        return dqkv.view(3, heads, n, t, d).permute(2, 3, 0, 1, 4).reshape(n, t, 3 * heads * d), None, None, None
