"""A text tower that also says which words its text has: `[pooled, bag]`, with bag(v) = 1 where the text has token v.

Heads see a tower's features and never its inputs; a head that lets a text use its own words (`LexicalHead(gate=True)`),
or is nothing but them (`BagHead`), reads the last columns of this tower's pooled features. Stored features of a frozen
tower keep them, as 0 and 1 are exact in bf16.

Source: Zhou et al. 2022 (VDR, the bag-of-tokens gate), arXiv 2212.07699.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder


class WithBag(Encoder):
    """A text tower whose pooled features are followed by the bag of its tokens.

    Args:
        encoder: the text tower; its inputs are `ids` and `mask`.
        vocab: number of token ids V.
        ignore: tokens that are no words (padding, the mark at the end).
    """

    def __init__(self, encoder: Encoder, vocab: int, *, ignore: Sequence[int] = ()) -> None:
        super().__init__()
        self.encoder, self.vocab, self.ignore = encoder, vocab, ignore
        self.width = encoder.width + vocab

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The tower's own."""
        return self.encoder.blocks

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        return self.encoder.embed(inputs)

    def contextualise(self, tokens: Tokens) -> Tokens:
        return self.encoder.contextualise(tokens)

    def pool(self, tokens: Tokens) -> Features:
        """The tower's own features, without the bag."""
        return self.encoder.pool(tokens)

    def forward(self, inputs: Mapping[str, Tensor]) -> Features:
        """`pooled` `[N, D + vocab]`; tokens are the tower's."""
        features = self.encoder(inputs)
        bag = features.pooled.new_zeros(len(features.pooled), self.vocab)
        bag.scatter_add_(1, inputs["ids"], inputs["mask"].to(bag.dtype))
        bag[:, list(self.ignore)] = 0
        return replace(features, pooled=torch.cat([features.pooled, bag.clamp(max=1)], 1))


class BagHead(nn.Module):
    """The bag itself as an embedding, nothing learned: the words of the text, each of the same weight.

    Args:
        vocab: number of words.
    """

    kind = "lexical"  # of the space in an index

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.vocab = vocab

    def forward(self, features: Features) -> Tensor:
        """`[N, vocab]`, each row of length 1; zeros for a text without a word."""
        return F.normalize(features.pooled[:, -self.vocab :].float(), dim=-1)
