"""Places for longer texts: the first stay, the others are stretched.

    new[j] = old[keep + (j - keep) * (L - keep) / (length - keep)],    between two places, a mixture of both

Use it to let a text tower with learned absolute places read more than it was trained on. It reads short texts as
before, since those use the first places; what lies beyond wants some training on long texts.

Source: Zhang et al. 2024, Long-CLIP, arXiv 2403.15378, section 3.1: of 77 places 20 stay, and 57 become 228.
"""

from __future__ import annotations

import torch
from torch import Tensor

KEEP = 20
"""Places that captions use and that are well trained, as Long-CLIP found."""


def stretched(places: Tensor, length: int, *, keep: int = KEEP) -> Tensor:
    """Place embeddings `[L, D]` for `length` places; as they are where there are enough.

    Args:
        places: in their order.
        length: how many are wanted; fewer than L gives the first of them.
        keep: how many at the beginning stay as they are; at most L - 2.

    Returns:
        `[length, D]`; beyond the last old place the step between the last two goes on.

    Example:
        >>> stretched(torch.arange(4.0)[:, None], 6, keep=2).flatten().tolist()
        [0.0, 1.0, 2.0, 2.5, 3.0, 3.5]
    """
    old = len(places)
    if length <= old:
        return places[:length]
    keep = min(keep, old - 2)
    at = keep + torch.arange(length - keep, dtype=torch.float64) * (old - keep) / (length - keep)
    low = at.floor().long().clamp(max=old - 2)
    part = (at - low).to(places)[:, None]
    return torch.cat([places[:keep], places[low] * (1 - part) + places[low + 1] * part])
