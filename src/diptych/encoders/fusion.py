"""A small cross-encoder: the words of a text look at the tokens of an image, and say whether the two belong together.

    x = [start, words];   L times:  x += self-attention(x);  f = attention(q = Q x to the image);  x += O [f, q * f];
                                    x += MLP(x)
    logit = <w, x_start> + b

each after a LayerNorm. Two separate towers must say all of an image in one vector before they know what is asked;
here every word looks for what it means. That costs a run of the blocks for each pair, so it ranks again what a
faster scorer chose, or teaches one. An image's keys and values do not depend on the text and are made once. Of the
last block only `start` is read, so only `start` is computed.

Begun from nothing on few pairs, sums alone take long to tell like from unlike. So what a word finds is also multiplied
by what it asked for, as ViLBERT multiplies its two streams, and words and places are first read by the same maps.

Sources: Li et al. 2021 (ALBEF), arXiv 2107.07651, whose fusion encoder has six such blocks without the product, begun
from BERT's; the product: Lu et al. 2019 (ViLBERT), arXiv 1908.02265.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.encoders.linear import Linear
from diptych.encoders.packing import attention


class FusionEncoder(nn.Module):
    """Tokens of texts and of images to a logit a pair: above 0 for a match.

    Args:
        tokens: width of both sides' tokens, as `TokenProjection` gives them.
        width: D of the blocks.
        depth: number of blocks.
        heads: attention heads; divides `width`.
        dropout: of what each block adds.
    """

    def __init__(self, tokens: int, *, width: int = 256, depth: int = 3, heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; it must be at least 1")
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.tokens, self.width, self.depth, self.heads, self.dropout = tokens, width, depth, heads, dropout
        self.words, self.places = Linear(tokens, width), Linear(tokens, width)
        self.norm_words, self.norm_places = nn.LayerNorm(width), nn.LayerNorm(width)
        self.places.load_state_dict(self.words.state_dict())
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList([FusionBlock(width, heads, dropout=dropout) for _ in range(depth)])
        self.norm, self.logit = nn.LayerNorm(width), Linear(width, 1)

    def memory(self, image: Tensor) -> Tensor:
        """What texts look at: keys and values of every block.

        Args:
            image: `[N, T, tokens]`.

        Returns:
            `[N, depth, 2, heads, T, width / heads]`.
        """
        n, t, _ = image.shape
        x = self.norm_places(self.places(image))
        both = torch.stack([block.memory(x) for block in self.blocks], 1)  # type: ignore[operator]
        return both.view(n, self.depth, t, 2, self.heads, self.width // self.heads).permute(0, 1, 3, 4, 2, 5)

    def forward(self, text: Tensor, mask: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """Score text i with image i.

        Args:
            text: `[n, T, tokens]`.
            mask: `[n, T]` bool, True where a word is real.
            memory: of the images, `[n, ...]`.
            seen: `[n, T_image]` bool, True where an image's token is real.

        Returns:
            `[n]` logits.
        """
        words = self.norm_words(self.words(text))
        x = torch.cat([self.start.to(words.dtype).expand(len(words), 1, -1), words], 1)
        mask = F.pad(mask, (1, 0), value=True)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, memory[:, i], seen, first=i == self.depth - 1)
        return self.logit(self.norm(x[:, 0]))[:, 0]


class FusionBlock(nn.Module):
    """Self-attention, attention to an image, and an MLP, each after a LayerNorm and added to its input.

    Args:
        width: D of a token.
        heads: attention heads; divides `width`.
        dropout: of what is added.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.told, self.out = Linear(width, width), Linear(width, 2 * width), Linear(width, width)
        self.ask_image, self.memory = Linear(width, width), Linear(width, 2 * width)
        self.out_image = Linear(2 * width, width)
        with torch.no_grad():
            self.memory.weight.copy_(self.ask_image.weight.repeat(2, 1))
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor, seen: Tensor, *, first: bool = False) -> Tensor:
        """Words `[n, T, D]` to `[n, T, D]`, or to the first one alone, `[n, 1, D]`, which all others still speak to.

        Args:
            x, mask: the words, and `[n, T]` which are real.
            memory: `[n, 2, heads, T_image, D / heads]`.
            seen: `[n, T_image]`.
            first: whether only the first is wanted.
        """
        every = self.norm1(x)
        key, value = (self._split(part) for part in self.told(every).chunk(2, -1))
        if first:
            x, every = x[:, :1], every[:, :1]
        x = x + self.drop(self.out(_joined(attention(self._split(self.ask(every)), key, value, mask))))
        asked = self.ask_image(self.norm2(x))
        found = _joined(attention(self._split(asked), memory[:, 0], memory[:, 1], seen))
        x = x + self.drop(self.out_image(torch.cat([found, asked * found], -1)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm3(x)))))

    def _split(self, x: Tensor) -> Tensor:
        """`[n, T, D]` to `[n, heads, T, D / heads]`."""
        return x.view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """`[n, heads, T, d]` to `[n, T, heads * d]`."""
    return x.transpose(1, 2).flatten(2)
