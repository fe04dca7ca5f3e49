"""The lexical score: words that both sides weigh, each by the product of its two weights.

    score(a, b) = scale * sum_v a(v) b(v),      share(v) = scale * a(v) b(v) / score(a, b)

Weights are not below zero, so a score is a sum of what its words add, and `explain` names them. An inverted index
gives the same ranking. Use it with heads that give weights of words (`LexicalHead`).

Source: Formal et al. 2021 (SPLADE), arXiv 2107.05720; Luo et al. 2023 (LexLIP), arXiv 2302.02908.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


@dataclass(frozen=True)
class SharedWord:
    """A word that both sides weigh.

    Attributes:
        dimension: its number.
        word: how it reads.
        score: what it adds to the score.
        share: of the whole score, 0 to 1.
    """

    dimension: int
    word: str
    score: float
    share: float


class Lexical(Scorer):
    """Inner product of weights of words, scaled.

    Args:
        scale: the scale, or where it starts if it is learned; > 0.
        learned: whether training moves the scale.
        max_scale: a learned scale never exceeds this.
        spaces: the first of these that an embedding has is compared: `("bag", "lexical")` compares the bag of words of
            a text that has one with the lexical weights of an image.
    """

    def __init__(
        self,
        scale: float = 1.0,
        *,
        learned: bool = True,
        max_scale: float = 100.0,
        spaces: Sequence[str] = ("lexical",),
    ) -> None:
        super().__init__()
        if not 0 < scale <= max_scale:
            raise ValueError(f"scale is {scale}; expected more than 0 and at most max_scale, {max_scale}")
        self.scale, self.learned, self.max_scale, self.spaces = scale, learned, max_scale, spaces
        start = torch.tensor(math.log(scale))
        self.log_scale: Tensor
        if learned:
            self.log_scale = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", start)

    def current_scale(self) -> Tensor:
        """The scale in force, a scalar; past the limit its gradient is still that of the scale, so it can come down."""
        scale = self.log_scale.exp()
        return scale - (scale - self.max_scale).clamp(min=0).detach()

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return (self.current_scale() * self.weights(queries)) @ self.weights(gallery).T

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.current_scale() * (self.weights(a) * self.weights(b)).sum(-1)

    def weights(self, embedding: Embedding) -> Tensor:
        """The vectors `[N, V]` that are compared.

        Raises:
            KeyError: if the embedding has none of the spaces.
        """
        for space in self.spaces:
            if space in embedding.vectors:
                return embedding.vectors[space]
        raise KeyError(f"no space of {list(self.spaces)} in an embedding with {sorted(embedding.vectors)}")

    @torch.no_grad()
    def explain(
        self, query: Embedding, gallery: Embedding, *, words: Sequence[str] = (), top: int | None = None
    ) -> list[list[SharedWord]]:
        """The words that made a query's scores, those that add most first.

        Args:
            query: of one row.
            gallery: N rows.
            words: what the dimensions mean, as `diptych.encoders.words_of(processor)` gives them; `#17` without.
            top: the most words of a row; None for all, whose scores then add up to the row's score.

        Returns:
            A list of words for each gallery row; empty where nothing is shared.

        Raises:
            ValueError: if there is not one query, or there are not as many words as dimensions.

        Example:
            >>> said = Lexical(2.0).explain(
            ...     Embedding({"lexical": torch.tensor([[1.0, 0.0, 3.0]])}),
            ...     Embedding({"lexical": torch.tensor([[1.0, 5.0, 1.0]])}),
            ...     words=["cat", "dog", "red"],
            ... )
            >>> [(word.word, round(word.score, 3), round(word.share, 3)) for word in said[0]]
            [('red', 6.0, 0.75), ('cat', 2.0, 0.25)]
        """
        asked, found = self.weights(query), self.weights(gallery)
        if len(asked) != 1:
            raise ValueError(f"there are {len(asked)} queries; explain one at a time, e.g. queries[i : i + 1]")
        if words and len(words) != asked.shape[1]:
            raise ValueError(f"there are {len(words)} words for {asked.shape[1]} dimensions; give one for each")
        return [_shared(row, words, top) for row in self.current_scale() * asked * found]


def _shared(products: Tensor, words: Sequence[str], top: int | None) -> list[SharedWord]:
    """The words of one row `[V]` of what each adds."""
    total = float(products.double().sum())
    order = products.argsort(descending=True, stable=True)[: int((products > 0).sum())][:top]
    return [
        SharedWord(v, str(words[v]) if words else f"#{v}", score, score / total)
        for v, score in zip(order.tolist(), products[order].tolist(), strict=True)
    ]
