"""A cross-encoder as a scorer: a text and an image are read together, and the logit of their match is the score.

    score(text, image) = FusionEncoder(words of the text, tokens of the image)  [+ dual(text, image)]

The same number either way round. It takes a run of the encoder for each pair, so rank all with it only where there
are few; over a large gallery use `Cascade(Dot(), Matching(...), depth=20)`. Tokens may be stored ones: nothing of the
towers runs again. Which of two embeddings is the image is told by its `grid`, the lie of its tokens.

Source: Li et al. 2021 (ALBEF), arXiv 2107.07651: its image-text matching head, which ranks the best k again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.encoders.fusion import FusionEncoder
from diptych.scoring.late_interaction import tokens_of

IMAGES_AT_ONCE = 1024
"""Images whose keys and values are held while all texts are scored with them."""


class Matching(Scorer):
    """Logits of `Embedding.tokens` of texts and images, read together.

    Args:
        fusion: reads them.
        batch: pairs read at a time, those with texts of like length together.
        dual: a scorer whose score is added: the encoder then learns what that does not know, which takes far less than
            to learn all from nothing. No gradient goes into it. None, as in the paper, for the encoder alone.
    """

    def __init__(self, fusion: FusionEncoder, *, batch: int = 256, dual: Scorer | None = None) -> None:
        super().__init__()
        if batch < 1:
            raise ValueError(f"batch is {batch}; it must be at least 1")
        self.fusion, self.batch, self.dual = fusion, batch, dual

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        """Every query with every gallery row, `[Q, N]`.

        Raises:
            ValueError: if an embedding has no tokens, or not just one of them has a grid.
        """
        if first_is_image(queries, gallery):
            return self(gallery, queries).T
        columns = []
        for start in range(0, max(1, len(gallery)), IMAGES_AT_ONCE):
            image, seen = tokens_of(gallery[start : start + IMAGES_AT_ONCE])
            memory = self.fusion.memory(image)
            j, i = torch.cartesian_prod(torch.arange(len(image)), torch.arange(len(queries))).to(image.device).T
            logits = self._logits(queries, i, lambda rows, memory=memory: memory[rows], seen, j)
            columns.append(logits.view(len(image), len(queries)).T)
        logits = torch.cat(columns, 1)
        return logits if self.dual is None else logits + self.dual(queries, gallery).detach()

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        """Row i of one with row i of the other, `[n]`; raises as `forward` does."""
        if first_is_image(a, b):
            return self.pairs(b, a)
        image, seen = tokens_of(b)
        rows = torch.arange(len(image), device=image.device)
        logits = self._logits(a, rows, lambda some: self.fusion.memory(image[some]), seen, rows)
        return logits if self.dual is None else logits + self.dual.pairs(a, b).detach()

    def _logits(
        self, texts: Embedding, i: Tensor, memory: Callable[[Tensor], Tensor], seen: Tensor, j: Tensor
    ) -> Tensor:
        """Text `i[k]` with image `j[k]`, for all k: the short texts first, each chunk no longer than it must be."""
        text, mask = tokens_of(texts)
        places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        lengths = (mask * places).amax(1) if mask.shape[1] else mask.new_zeros(len(mask), dtype=torch.long)
        seen = seen | ~seen.any(1, keepdim=True)  # tokens of an image without any are zero, and may as well be seen
        order = lengths[i].argsort(stable=True)
        parts = []
        for some in order.split(self.batch):
            own, other = i[some], j[some]
            t = int(lengths[own].max()) if len(own) else 0
            parts.append(self.fusion(text[own, :t], mask[own, :t], memory(other), seen[other]))
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        return torch.cat(parts)[back]


def first_is_image(a: Embedding, b: Embedding) -> bool:
    """Whether the first of two embeddings is the image's, and not the second.

    Raises:
        ValueError: if both have a grid, or neither.
    """
    if (a.grid is None) == (b.grid is None):
        raise ValueError(
            f"a text is matched with an image, which is the one whose tokens lie in a grid; found the grids {a.grid} "
            f"and {b.grid}: give one of each, and the image tower one that gives patches"
        )
    return a.grid is not None
