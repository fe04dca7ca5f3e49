"""A small text transformer: token and place embeddings, pre-norm blocks, mean of the last tokens.

Everything but attention runs on packed tokens, so padding costs little whatever the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.encoders.packing import Packing, attention, masked_mean


class Block(nn.Module):
    """Self-attention and an MLP, each after a LayerNorm and added to its input.

    Args:
        width: D of a token.
        heads: attention heads; divides `width`.
        dropout: of what is added.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Packed tokens `[M, D]` to `[M, D]`."""
        x = x + self.drop(self._attend(self.norm1(x), packing))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))

    def _attend(self, x: Tensor, packing: Packing) -> Tensor:
        n, t = packing.mask.shape
        q, k, v = packing.unpack(self.qkv(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v, packing.mask).transpose(1, 2).reshape(n, t, -1)
        return self.out(packing.pack(mixed))


class TextTransformer(Encoder):
    """Texts as token ids to the mean of their contextual tokens.

    Args:
        vocab_size: number of token ids.
        width: D of every token and of the pooled features.
        depth: number of blocks.
        heads: attention heads; divides `width`.
        max_length: longest T.
        dropout: in the blocks and on the embeddings.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        width: int = 256,
        depth: int = 4,
        heads: int = 8,
        max_length: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.vocab_size, self.width, self.depth, self.heads = vocab_size, width, depth, heads
        self.max_length, self.dropout = max_length, dropout
        self.token = nn.Embedding(vocab_size, width)
        self.place = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, dropout=dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.token.weight, std=0.5)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool to tokens `[N, T, D]`.

        Raises:
            ValueError: if T is more than `max_length`.
        """
        ids = inputs["ids"]
        if ids.shape[1] > self.max_length:
            raise ValueError(f"texts of {ids.shape[1]} tokens; this encoder has places for {self.max_length}")
        return Tokens(self.drop(self.token(ids) + self.place[: ids.shape[1]]), inputs["mask"])

    def contextualise(self, tokens: Tokens) -> Tokens:
        assert tokens.mask is not None
        packing = Packing(tokens.mask)
        x = packing.pack(tokens.x)
        for block in self.blocks:
            x = block(x, packing)
        return Tokens(packing.unpack(self.norm(x)), tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        assert tokens.mask is not None
        return Features(masked_mean(tokens.x, tokens.mask), tokens.x, tokens.mask)
