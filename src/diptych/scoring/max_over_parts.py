"""Several embeddings an image: a text is scored by the one that is nearest to it.

    score(text, image) = scale * max_k <text, part k of the image>

The same number either way round. It is `LateInteraction` with the text's one vector as its only token, but that mean
over parts which `LateInteraction` takes when the image asks is no use here. Each image takes as many vectors as it
has parts. Use it where what is asked for may be a small thing somewhere in the picture.

Source: Liu et al. 2025 (SORCE), arXiv 2505.24441.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.scoring.late_interaction import tokens_of

BLOCK = 2**24
"""Similarities of texts with parts held at a time."""


class MaxOverParts(Scorer):
    """The largest of a text's similarities with an image's parts, scaled.

    The image's parts are its tokens, of unit length; a text has none, and is its vector.

    Args:
        scale: where the learned scale (1 / temperature) starts; > 0.
        max_scale: the scale never exceeds this.
        space: of the texts' vectors.

    Example:
        >>> image = Embedding({}, torch.eye(2)[None], torch.ones(1, 2).bool())
        >>> MaxOverParts(1.0)(Embedding({"dense": torch.tensor([[0.0, 1.0]])}), image).item()
        1.0
    """

    def __init__(self, scale: float = 1 / 0.07, *, max_scale: float = 100.0, space: str = "dense") -> None:
        super().__init__()
        if not 0 < scale <= max_scale:
            raise ValueError(f"scale is {scale}; expected more than 0 and at most max_scale, {max_scale}")
        self.scale, self.max_scale, self.space = scale, max_scale, space
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def current_scale(self) -> Tensor:
        """The scale in force, a scalar; past the limit its gradient is still that of the scale, so it can come down."""
        scale = self.log_scale.exp()
        return scale - (scale - self.max_scale).clamp(min=0).detach()

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        """Every query with every gallery row, `[Q, N]`.

        Raises:
            ValueError: if not just one side has parts.
        """
        if _first_has_parts(queries, gallery):
            return self(gallery, queries).T
        parts, mask = tokens_of(gallery)
        text = queries.vectors[self.space]
        size = max(1, BLOCK // max(1, parts.shape[0] * parts.shape[1]))
        rows = [_largest(some @ parts.flatten(0, 1).T, mask) for some in text.split(size)]
        return self.current_scale() * torch.cat(rows)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        """Row i of one with row i of the other, `[n]`; raises as `forward` does."""
        if _first_has_parts(a, b):
            return self.pairs(b, a)
        parts, mask = tokens_of(b)
        similarity = (parts @ a.vectors[self.space][:, :, None])[..., 0]
        return self.current_scale() * similarity.masked_fill(~mask, -1).amax(1)


def _largest(similarity: Tensor, mask: Tensor) -> Tensor:
    """`[n, N * K]` to `[n, N]`, over the parts `[N, K]` that are real; -1 where none is."""
    return similarity.unflatten(1, mask.shape).masked_fill(~mask, -1).amax(2)


def _first_has_parts(a: Embedding, b: Embedding) -> bool:
    """Whether the first of two embeddings is the image's, and not the second.

    Raises:
        ValueError: if both have tokens, or neither.
    """
    if (a.tokens is None) == (b.tokens is None):
        both = "both sides have" if b.tokens is not None else "neither side has"
        raise ValueError(
            f"{both} tokens; a text (one vector) is compared with an image's parts: give the image tower alone a head "
            "named 'tokens', a PartsProjection"
        )
    return a.tokens is not None
