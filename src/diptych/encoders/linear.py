"""A linear layer whose products are fast on CPUs in bf16; the answers are those of `nn.Linear`.

    y = x W^T + b,      dx = dy W,      dW = dy^T x,      db = 1^T dy

Inputs and weights are rounded to bf16 once, the bias is added inside the product, and its gradient is a product too.
Use it wherever the layer is large; elsewhere it is `nn.Linear` itself.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BF16 = torch.bfloat16


def fast_bf16(x: Tensor) -> bool:
    """Whether products of `x` are taken in bf16 on a CPU now, where our own backward passes pay."""
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == BF16


class Linear(nn.Linear):
    """`nn.Linear`: same arguments, weights, initialisation and random stream."""

    def forward(self, input: Tensor) -> Tensor:
        if fast_bf16(input):
            return _LinearBF16.apply(input, self.weight, self.bias)  # type: ignore[return-value]
        return super().forward(input)


class _LinearBF16(torch.autograd.Function):
    """Rounds to bf16 what it multiplies; every gradient has the precision of what it is the gradient of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, w = x.reshape(-1, x.shape[-1]).to(BF16), weight.to(BF16)
        ctx.save_for_backward(rows, w)
        ctx.precisions = x.dtype, weight.dtype, None if bias is None else bias.dtype
        return _product(rows, w, bias).view(*x.shape[:-1], len(w))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, w = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.precisions
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dy = grads[0].reshape(-1, w.shape[0])
        dx = dw = db = None
        if wants_x:
            dx = (dy @ w).view(*grads[0].shape[:-1], w.shape[1]).to(of_x)
        if wants_weight:
            dw = (dy.t() @ rows).to(of_weight)
        if wants_bias:  # A product with ones; sum(0) takes two to six times as long.
            db = (dy.new_ones(1, len(dy)) @ dy)[0]
        return dx, dw, db.to(of_bias) if wants_bias and db is not None else None


def _product(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
    """`x w^T + bias` in bf16; `F.linear` would first write the bias to every row of the answer, and then add to it."""
    with torch.autocast("cpu", enabled=False):
        b = None if bias is None else bias.to(BF16)
        if b is not None and len(x) and _adds_bias_inside():
            return torch.ops.mkldnn._linear_pointwise(x, w, b, "none", [], "")
        return F.linear(x, w, b)


@cache
def _adds_bias_inside() -> bool:
    """Whether the product that `torch.compile` uses for this is there."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
