"""What heads over tokens share: which of a tower's features they read."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.core.embedding import Features


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
        x = features.tokens
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if features.mask is None else features.mask
    if x.shape[-1] != width:
        raise ValueError(f"the tower's features are {x.shape[-1]} wide; this head was made for {width}")
    return x, mask
