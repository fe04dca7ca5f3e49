"""What heads over tokens share: which of a tower's features they read, and the largest of many logits over them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diptych.core.embedding import Features

LOGITS_AT_ONCE = 1 << 26
"""Logits (rows x tokens x dimensions) held at a time; where there are more they are made again in the backward."""


def head_tokens(features: Features, width: int, pooled: bool) -> tuple[Tensor, Tensor]:
    """Tokens `[N, T, width]` and which of them are real `[N, T]`.

    Args:
        features: of a tower.
        width: D of a token; of pooled features that are longer the first `width` are read.
        pooled: read the pooled features as the one token, also where there are tokens.

    Raises:
        ValueError: if tokens or pooled features are of another width.
    """
    if features.tokens is None or pooled:
        x = features.pooled[:, None, :width]
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    else:
        x = features.tokens.to(torch.promote_types(features.tokens.dtype, torch.float32))  # stored ones are in bf16
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if features.mask is None else features.mask
    if x.shape[-1] != width:
        raise ValueError(f"the tower's features are {x.shape[-1]} wide; this head was made for {width}")
    return x, mask


def largest_logits(logits: Callable[[Tensor], Tensor], tokens: Tensor, mask: Tensor, count: int) -> Tensor:
    """Each dimension's largest logit over the real tokens.

    Args:
        logits: `[n, T, D]` to `[n, T, count]`.
        tokens: `[N, T, D]`.
        mask: `[N, T]`, True where a token is real; the others never matter, however large.
        count: number of dimensions.

    Returns:
        `[N, count]`; minus infinity in rows without a real token.
    """

    def some(x: Tensor, real: Tensor) -> Tensor:
        return logits(x).masked_fill(~real[..., None], -torch.inf).amax(1)

    rows = max(1, LOGITS_AT_ONCE // max(1, tokens.shape[1] * count))
    if len(tokens) <= rows:
        return some(tokens, mask)
    parts = zip(tokens.split(rows), mask.split(rows), strict=True)
    return torch.cat([checkpoint(some, x, real, use_reentrant=False) for x, real in parts])  # type: ignore[misc]
