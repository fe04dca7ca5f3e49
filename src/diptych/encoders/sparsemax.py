"""Sparsemax: the probabilities nearest to given scores; like softmax, but most of them are exactly zero.

    p = argmin_{p in simplex} |p - z|^2 = max(0, z - tau),    tau such that sum p = 1
    dz = [p > 0] * (dp - mean of dp where p > 0)

tau comes of sorted scores in closed form. Use it in the place of softmax where few entries should take part at all.

Source: Martins and Astudillo 2016, arXiv 1602.02068 (algorithm 1, and equation 14 for the gradient).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sparsemax(scores: Tensor) -> Tensor:
    """Probabilities over the last dimension, of the same shape.

    Example:
        >>> sparsemax(torch.tensor([1.0, 0.8, -1.0]))
        tensor([0.6000, 0.4000, 0.0000])
    """
    return _Sparsemax.apply(scores)  # type: ignore[return-value]


class _Sparsemax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        z = scores - scores.amax(-1, keepdim=True)  # tau moves with it, and large scores lose no digits
        ordered = z.sort(-1, descending=True).values
        total = ordered.cumsum(-1)
        rank = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        support = (1 + rank * ordered > total).sum(-1, keepdim=True)
        tau = (total.gather(-1, support - 1) - 1) / support
        p = (z - tau).clamp(min=0)
        ctx.save_for_backward(p > 0)
        return p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # type: ignore[override]
        (inside,) = ctx.saved_tensors
        gradient = grads[0] * inside
        return (gradient - gradient.sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)) * inside
