"""The weak decoder behind a lexicon bottleneck: it restores hidden words of a text from weights of words.

    bag = LayerNorm(sum_v weight(v) e_v),     [bag, x_1, ..., x_T] -> blocks -> y,     logits(t, v) = <y_t, e_v> + b_v

with e the decoder's word embeddings, and x_t the embedding of word t, or the bag and a blank where it is hidden. Few
blocks and many hidden words make it weak: what it needs it must take from the bag. As the same e go in and come out,
the shortest way to say a hidden word v is a weight of word v. The paper's decoder is given the bag in the first place
alone, which is enough where e and the encoder are those of a trained masked language model; from random beginnings
the weights then become a code of their own, so here every blank holds the bag too.

Source: Luo et al. 2023 (LexLIP), arXiv 2302.02908, after Shen et al. 2022 (LexMAE), arXiv 2208.14754.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.encoders.packing import packing_of
from diptych.encoders.transformer import Block


class LexiconDecoder(nn.Module):
    """Weights of words and a text with hidden words to how badly it restores them.

    Args:
        vocab: number of words; dimension v of the weights is token v of the texts.
        width: D of its embeddings.
        depth: number of blocks; the paper's is weak by having few.
        heads: attention heads; divides `width`.
        max_length: longest text.
        dropout: in the blocks.
    """

    def __init__(
        self,
        vocab: int,
        *,
        width: int = 256,
        depth: int = 2,
        heads: int = 8,
        max_length: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.vocab, self.width, self.depth, self.heads = vocab, width, depth, heads
        self.max_length, self.dropout = max_length, dropout
        self.word = nn.Embedding(vocab, width)
        self.place = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.blank = nn.Parameter(torch.zeros(width))
        self.norm_bag, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList([Block(width, heads, dropout=dropout) for _ in range(depth)])
        self.bias = nn.Parameter(torch.zeros(vocab))
        nn.init.normal_(self.word.weight, std=width**-0.5)

    def forward(self, weights: Tensor, ids: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """The cross-entropy of each text's hidden words.

        Args:
            weights: `[n, vocab]`, none below zero.
            ids: `[n, T]` int64, the texts.
            mask: `[n, T]` bool, True where a token is real.
            hidden: `[n, T]` bool, which real tokens it does not see and must restore.

        Returns:
            `[n]`, the mean over a text's hidden words; 0 where none is.

        Raises:
            ValueError: if texts are longer than `max_length`.
        """
        t = ids.shape[1]
        if t > self.max_length:
            raise ValueError(f"texts of {t} tokens; this decoder has places for {self.max_length}")
        bag = self.norm_bag(weights @ self.word.weight)
        seen = torch.where(hidden[..., None], bag[:, None] + self.blank, self.word(ids)) + self.place[:t]
        packing = packing_of(F.pad(mask, (1, 0), value=True))
        x = packing.pack(torch.cat([bag[:, None], seen], 1))
        for block in self.blocks:
            x = block(x, packing)
        said = self.norm(packing.unpack(x)[:, 1:][hidden])  # [hidden words, D]
        losses = F.cross_entropy(F.linear(said, self.word.weight, self.bias), ids[hidden], reduction="none")
        text = hidden.nonzero()[:, 0]
        return losses.new_zeros(len(ids)).index_add(0, text, losses) / hidden.sum(1).clamp(min=1)
