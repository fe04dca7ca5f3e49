"""A text transformer: token and place embeddings, pre-norm blocks, and the mean or the last of the last tokens.

Everything but attention runs on packed tokens, so padding costs little whatever the lengths. Small and looking both
ways it is our own text tower; causal, and pooled at the token that ends a text, it is that of CLIP.

Sources: Vaswani et al. 2017, arXiv 1706.03762; the causal one as in Radford et al. 2021, arXiv 2103.00020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.encoders.attention import self_attention
from diptych.encoders.linear import Linear
from diptych.encoders.packing import Packed, masked_mean, packing_of

Activation = Literal["gelu", "quick_gelu"]


class Block(nn.Module):
    """Self-attention and an MLP, each after a LayerNorm and added to its input.

    Args:
        width: D of a token.
        heads: attention heads; divides `width`.
        dropout: of what is added.
        activation: of the MLP; `"quick_gelu"` is `x * sigmoid(1.702 x)`, that of OpenAI's CLIP.
        causal: whether a token looks only at itself and those before it.
        eps: of the LayerNorms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout: float = 0.0,
        activation: Activation = "gelu",
        causal: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.activation = {"gelu": F.gelu, "quick_gelu": quick_gelu}[activation]
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, packing: Packed | None = None) -> Tensor:
        """Tokens `[N, T, D]` to `[N, T, D]`; packed tokens `[M, D]` to `[M, D]`."""
        x = x + self.drop(self._attend(self.norm1(x), packing))
        return x + self.drop(self.down(self.activation(self.up(self.norm2(x)))))

    def _attend(self, x: Tensor, packing: Packed | None) -> Tensor:
        if packing is None:
            return self.out(self_attention(self.qkv(x), self.heads, causal=self.causal))
        # Causal rows end in their padding, so no real token looks at it and no mask is needed.
        mask = None if self.causal else packing.mask
        mixed = self_attention(packing.unpack(self.qkv(x)), self.heads, mask=mask, causal=self.causal)
        return self.out(packing.pack(mixed))


def quick_gelu(x: Tensor) -> Tensor:
    """`x * sigmoid(1.702 x)` (Hendrycks and Gimpel 2016, arXiv 1606.08415), by a kernel that keeps one tensor."""
    return F.silu(1.702 * x) * (1 / 1.702)


class TextTransformer(Encoder):
    """Texts as token ids to the mean, or the last, of their contextual tokens.

    Args:
        vocab_size: number of token ids.
        width: D of every token and of the pooled features.
        depth: number of blocks.
        heads: attention heads; divides `width`.
        max_length: longest T.
        dropout: in the blocks and on the embeddings.
        activation: of the blocks' MLPs.
        causal: whether a token looks only at itself and those before it; texts must then be padded at their end.
        pooling: `"mean"` of a text's tokens, or its `"last"` one.
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
        activation: Activation = "gelu",
        causal: bool = False,
        pooling: Literal["mean", "last"] = "mean",
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.vocab_size, self.width, self.depth, self.heads = vocab_size, width, depth, heads
        self.max_length, self.dropout = max_length, dropout
        self.activation, self.causal, self.pooling = activation, causal, pooling
        self.token = nn.Embedding(vocab_size, width)
        self.place = nn.Parameter(torch.randn(max_length, width) * 0.02)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            [Block(width, heads, dropout=dropout, activation=activation, causal=causal) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.token.weight, std=0.5)

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool to tokens `[N, T, D]`.

        Raises:
            ValueError: if T is more than `max_length`, or a causal text is padded elsewhere than at its end.
        """
        ids, mask = inputs["ids"], inputs["mask"]
        if ids.shape[1] > self.max_length:
            raise ValueError(f"texts of {ids.shape[1]} tokens; this encoder has places for {self.max_length}")
        exporting = torch.compiler.is_exporting()  # a graph cannot look at what is in its inputs
        if self.causal and not exporting and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise ValueError("a text has padding before a token; causal texts must be padded at their end only")
        return Tokens(self.drop(self.token(ids) + self.place[: ids.shape[1]]), mask)

    def contextualise(self, tokens: Tokens) -> Tokens:
        assert tokens.mask is not None
        packing = packing_of(tokens.mask)
        x = packing.pack(tokens.x)
        for block in self.blocks:
            x = block(x, packing)
        return Tokens(packing.unpack(self.norm(x)), tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        x, mask = tokens.x, tokens.mask
        assert mask is not None
        if self.pooling == "last":
            last = (mask.sum(1) - 1).clamp(min=0)
            return Features(x[torch.arange(x.shape[0], device=x.device), last], x, mask)
        return Features(masked_mean(x, mask), x, mask)
