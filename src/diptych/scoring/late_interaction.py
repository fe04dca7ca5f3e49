"""Late interaction: every token of the query finds the token most like it in the other, and these likenesses add up.

    score(q, g) = scale * mean_i max_j <q_i, g_j>      over the real tokens i of q and j of g

A patch can so match a word, which one vector for all of an image cannot show. The mean is over the query's tokens, so
score(q, g) is not score(g, q): image to text averages over patches, text to image over words, as in FILIP, and InfoNCE
asks for each from its own side. `reduce="sum"` is ColBERT's score, which longer queries have more of. Use it where
details of the image decide; it takes T vectors to store for one, and T_q * T_g products to score.

Padding never wins a maximum and is left out of the mean. A row without any real token is as unlike all others as can
be (a cosine of -1); a query without any scores 0 everywhere.

Sources: Yao et al. 2021 (FILIP), arXiv 2111.07783, section 3.1; Khattab & Zaharia 2020 (ColBERT), arXiv 2004.12832.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class LateInteraction(Scorer):
    """Token-wise maximal similarity of `Embedding.tokens`, which are taken to be of unit length.

    Args:
        scale: where the learned scale (1 / temperature) starts; > 0. FILIP starts at 1 / 0.07.
        max_scale: the scale never exceeds this.
        direction: whose tokens look for their match and are averaged over: the "query"'s (FILIP: image to text from
            the patches, text to image from the words), the "gallery"'s, or "both" and the mean of the two, where
            score(q, g) = score(g, q).
        reduce: "mean" over those tokens, or their "sum" (ColBERT).
        block: most token similarities `[Q, N, T_q, T_g]` held at a time (one pair's at least). Beside them a step
            in training keeps some 10 bytes for each of `[Q, N, T]`, which say where the maxima were.

    Example:
        >>> words = Embedding({}, torch.eye(3)[None, :2], torch.ones(1, 2).bool())  # two tokens
        >>> patches = Embedding({}, torch.eye(3)[None], torch.ones(1, 3).bool())  # the same two, and a third
        >>> scorer = LateInteraction(1.0)
        >>> scorer(words, patches).item(), round(scorer(patches, words).item(), 3)
        (1.0, 0.667)
    """

    def __init__(
        self,
        scale: float = 1 / 0.07,
        *,
        max_scale: float = 100.0,
        direction: Literal["query", "gallery", "both"] = "query",
        reduce: Literal["mean", "sum"] = "mean",
        block: int = 2**24,
    ) -> None:
        super().__init__()
        if not 0 < scale <= max_scale:
            raise ValueError(f"scale is {scale}; expected more than 0 and at most max_scale, {max_scale}")
        if direction not in ("query", "gallery", "both"):
            raise ValueError(f"direction is {direction!r}; expected 'query', 'gallery' or 'both'")
        if reduce not in ("mean", "sum"):
            raise ValueError(f"reduce is {reduce!r}; expected 'mean' or 'sum'")
        if block < 1:
            raise ValueError(f"block is {block}; it must be at least 1")
        self.scale, self.max_scale = scale, max_scale
        self.direction, self.reduce, self.block = direction, reduce, block
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def current_scale(self) -> Tensor:
        """The scale in force, a scalar; past the limit its gradient is still that of the scale, so it can come down."""
        scale = self.log_scale.exp()
        return scale - (scale - self.max_scale).clamp(min=0).detach()

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        q, q_mask = _filled(*tokens_of(queries))
        g, g_mask = _filled(*tokens_of(gallery))
        if not len(q) or not len(g):
            return self.current_scale() * (q.sum() + g.sum() + q.new_zeros(len(q), len(g)))
        most = max(1, self.block // max(1, q.shape[1] * g.shape[1]))  # pairs of a block
        columns = min(len(g), most)
        rows = []
        for i in _cuts(len(q), max(1, most // columns)):
            row = [self._block(q[i], q_mask[i], g[j], g_mask[j]) for j in _cuts(len(g), columns)]
            rows.append(torch.cat(row, 1))
        return self.current_scale() * torch.cat(rows)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        x, x_mask = _filled(*tokens_of(a))
        y, y_mask = _filled(*tokens_of(b))
        if not len(x):
            return self.current_scale() * (x.sum() + y.sum() + x.new_zeros(0))
        most = max(1, self.block // max(1, x.shape[1] * y.shape[1]))
        scores = []
        for i in _cuts(len(x), most):
            similarity = torch.bmm(x[i], y[i].transpose(1, 2))  # [n, T_a, T_b]
            scores.append(self._score(similarity[:, :, None], x_mask[i], y_mask[i][:, None], x_mask[i][:, None])[:, 0])
        return self.current_scale() * torch.cat(scores)

    def _block(self, q: Tensor, q_mask: Tensor, g: Tensor, g_mask: Tensor) -> Tensor:
        """`[n, m]`, before the scale."""
        similarity = (q.flatten(0, 1) @ g.flatten(0, 1).T).view(*q.shape[:2], *g.shape[:2])  # [n, T_q, m, T_g]
        return self._score(similarity, q_mask, g_mask[None], q_mask[:, None])

    def _score(self, similarity: Tensor, q_mask: Tensor, g_mask: Tensor, q_mask_of_pair: Tensor) -> Tensor:
        """Similarities `[n, T_q, m, T_g]` to `[n, m]`.

        Args:
            q_mask: `[n, T_q]`.
            g_mask: `[n or 1, m, T_g]`.
            q_mask_of_pair: `[n, 1, T_q]`.
        """
        scores = []
        if self.direction != "gallery":
            best = _best(similarity, g_mask.any(-1)[:, None], 3)  # [n, T_q, m]
            scores.append(self._reduced(best.transpose(1, 2), q_mask_of_pair))
        if self.direction != "query":
            best = _best(similarity, q_mask.any(-1)[:, None, None], 1)  # [n, m, T_g]
            scores.append(self._reduced(best, g_mask))
        return scores[0] if len(scores) == 1 else (scores[0] + scores[1]) / 2

    def _reduced(self, best: Tensor, mask: Tensor) -> Tensor:
        """Over the last dimension, where `mask` is True."""
        total = best.masked_fill(~mask, 0).sum(-1)
        return total if self.reduce == "sum" else total / mask.sum(-1).clamp(min=1)


def tokens_of(embedding: Embedding) -> tuple[Tensor, Tensor]:
    """Tokens `[N, T, D]`, zero where they are not real, and their mask `[N, T]`.

    Raises:
        ValueError: if there are none.
    """
    if embedding.tokens is None:
        raise ValueError(
            f"late interaction compares tokens, and this embedding has only the spaces {sorted(embedding.vectors)}; "
            "give each tower a head named 'tokens', a TokenProjection"
        )
    if embedding.mask is None:
        return embedding.tokens, embedding.tokens.new_ones(embedding.tokens.shape[:2]).bool()
    return embedding.tokens.masked_fill(~embedding.mask[..., None], 0), embedding.mask


def _filled(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Copies of a row's first real token in the place of its padding: no maximum changes, and none must be masked.

    To mask `[Q, N, T_q, T_g]` similarities took as long as to make them.
    """
    if not tokens.shape[1]:
        return tokens, mask
    first = mask.to(torch.uint8).argmax(1)
    copies = tokens[torch.arange(len(tokens), device=tokens.device), first]
    return torch.where(mask[..., None], tokens, copies[:, None]), mask


def _best(similarity: Tensor, some: Tensor, dim: int) -> Tensor:
    """The maximum over the tokens of `dim`; -1 where there are none, which `some` says."""
    if not similarity.shape[dim]:
        return similarity.sum(dim) - 1
    return similarity.max(dim).values.masked_fill(~some, -1)  # `max` keeps where, `amax` would keep all


def _cuts(length: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, length, size))
