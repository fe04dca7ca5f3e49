"""Heads that give a dual encoder's tokens a space of their own, for late interaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import nn

from diptych.core.model import Model
from diptych.encoders.heads import Projection, TokenProjection
from diptych.models.modes import evaluating


def add_token_heads(
    model: Model,
    width: int,
    *,
    views: Collection[str] = ("image", "text"),
    hidden: int = 0,
    dropout: float = 0.0,
) -> Model:
    """Give the towers of some views a head `"tokens"`, a `TokenProjection`.

    How wide a tower's tokens are is found by running it once on a blank row.

    Args:
        model: changed in place, and returned.
        width: of the embedding's tokens; the same for all that are to be compared.
        views: whose towers.
        hidden, dropout: of the heads' MLP; 0 for a linear map.

    Raises:
        ValueError: if a tower gives no tokens.
    """
    for view in views:
        name = model.route(view).tower
        heads = cast(nn.ModuleDict, model.heads[name])
        heads["tokens"] = TokenProjection(token_width(model, view), width, hidden=hidden, dropout=dropout)
    return model


def share_token_heads(model: Model, *, views: Collection[str] = ("image", "text")) -> Model:
    """Give towers a head `"tokens"` that is the linear map of their head `"dense"`, by the same weights.

    Where pooled features are the mean of tokens, what aligns the one aligns the others: a word is then near what it
    means from the start, for heads and encoders that read both views' tokens. A tower whose tokens are not as wide as
    its pooled features gets a `TokenProjection` of its own.

    Args:
        model: changed in place, and returned; its heads `"dense"` are of type `Projection`.
        views: whose towers.

    Raises:
        ValueError: if a tower gives no tokens.
    """
    for view in views:
        heads = cast(nn.ModuleDict, model.heads[model.route(view).tower])
        dense = cast(Projection, heads["dense"])
        tokens = TokenProjection(token_width(model, view), dense.width, layer_norm=dense.layer_norm, bias=dense.bias)
        if tokens.features == dense.features:
            tokens.norm, tokens.linear = dense.norm, dense.linear
        heads["tokens"] = tokens
    return model


def token_width(model: Model, view: str) -> int:
    """How wide the tokens of a view's tower are, found by running it once on a blank row.

    Raises:
        ValueError: if it gives no tokens.
    """
    shape = getattr(model.processors[view], "shape", None)
    if shape is not None:
        inputs = {"pixels": torch.zeros(1, *shape, dtype=torch.uint8)}
    else:
        inputs = {"ids": torch.zeros(1, 1, dtype=torch.long), "mask": torch.ones(1, 1, dtype=torch.bool)}
    with evaluating(model), torch.no_grad():
        tokens = model.features(view, inputs).tokens
    if tokens is None:
        raise ValueError(f"the tower of {view!r} gives no tokens, only pooled features: late interaction needs them")
    return tokens.shape[-1]
