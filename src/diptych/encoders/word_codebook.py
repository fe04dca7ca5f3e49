"""A lexical head over a frozen codebook: dimension v is how near a row lies to the vector of word v.

    c_v = (e_v - mean e) / |e_v - mean e|        of given vectors e of V words, not trained
    logit(t, v) = s (<h(x_t), c_v> - b_v),       h of unit length, b_v how near is near
    weight(v) = log(1 + relu(max_t logit(t, v)))

A free matrix of logits (`LexicalHead`) may give its dimensions any meaning, and needs a bottleneck or a gate to make
them mean their words. Here the words' vectors stand still, so a row can only have a word by coming near it. Where the
features are as wide as the codebook, h starts as the features themselves: give the text tower's own vectors of words
(`words_encoded`) and texts begin with words that mean them. Use it with a text tower that was trained on texts; vectors
of an untrained one mean nothing.

Source: Li et al. 2024 (LexVLA), arXiv 2407.17827. There the codebook is a language model's, one copy frozen for texts
and one tuned for images; here both read one, frozen. Centring, unit length, s and b_v are ours: sentence encoders put
all words into one narrow cone, in which every word would be near.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features
from diptych.encoders.linear import Linear
from diptych.encoders.over_tokens import head_tokens, largest_logits


class WordCodebook(nn.Module):
    """Vectors of words, which no training moves.

    Args:
        size: V, how many words.
        width: D of a vector.
        words: what they are; empty for the vocabulary of the text processor.

    It begins with vectors drawn at random, until `fill`; a checkpoint keeps them.
    """

    def __init__(self, size: int, width: int, *, words: Sequence[str] = ()) -> None:
        super().__init__()
        if words and len(words) != size:
            raise ValueError(f"there are {len(words)} words for {size} vectors; give one for each, or none")
        self.size, self.width, self.words = size, width, words
        self.register_buffer("vectors", F.normalize(torch.randn(size, width), dim=1))
        self.vectors: Tensor

    def fill(self, vectors: Tensor) -> WordCodebook:
        """Take `[size, width]` vectors of the words, centred and scaled to unit length.

        Raises:
            ValueError: if they are of another shape or not finite.
        """
        if vectors.shape != self.vectors.shape or not bool(vectors.isfinite().all()):
            raise ValueError(
                f"expected finite vectors {tuple(self.vectors.shape)} for {self.size} words, got {tuple(vectors.shape)}"
            )
        wide = vectors.detach().double()
        self.vectors.copy_(F.normalize(wide - wide.mean(0), dim=1))
        return self


class WordHead(nn.Module):
    """Tokens to weights of a frozen codebook's words, none below zero.

    Args:
        features: width of a token, or of the pooled features where these are read.
        codebook: which; the same object for both towers.
        hidden: width of the MLP h.
        scale: where the learned s starts, above 0.
        near: where the learned b_v start, -1 to 1: a row has the words whose cosine is above; more for fewer words.
        pooled: read the pooled features as if they were the one token: for frozen towers, of which only those are
            stored. Towers that give no tokens are read so anyway.
    """

    kind = "lexical"  # of the space in an index

    def __init__(
        self,
        features: int,
        codebook: WordCodebook,
        *,
        hidden: int = 512,
        scale: float = 10.0,
        near: float = 0.1,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        if scale <= 0 or not -1 <= near < 1:
            raise ValueError(f"scale is {scale} and near is {near}; expected above 0, and a cosine, -1 to below 1")
        self.features, self.codebook, self.hidden = features, codebook, hidden
        self.scale, self.near, self.pooled = scale, near, pooled
        self.vocab = codebook.size
        last = Linear(hidden, codebook.width)
        self.mlp = nn.Sequential(nn.LayerNorm(features), Linear(features, hidden), nn.GELU(), last)
        self.beside = features == codebook.width
        if self.beside:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())
        self.bias = nn.Parameter(torch.full((codebook.size,), float(near)))

    @property
    def reads_tokens(self) -> bool:
        """Whether a tower's tokens are wanted, not its pooled features alone."""
        return not self.pooled

    @property
    def words(self) -> Sequence[str]:
        """What the dimensions mean; empty for the vocabulary of the text processor."""
        return self.codebook.words

    def forward(self, features: Features) -> Tensor:
        """`[N, V]` float32 or better, of unit length, none below zero; a row near no word is all zeros."""
        tokens, mask = head_tokens(features, self.features, self.pooled)
        logits = largest_logits(self._logits, tokens, mask, self.codebook.size)
        weights = logits.to(torch.promote_types(logits.dtype, torch.float32)).relu().log1p()
        return F.normalize(weights, dim=-1)

    def _logits(self, tokens: Tensor) -> Tensor:
        tokens = tokens.to(self.bias.dtype)  # stored ones are in bf16
        h = self.mlp(tokens)
        h = F.normalize(F.normalize(tokens, dim=-1) + h if self.beside else h, dim=-1)
        return self.log_scale.exp() * (h @ self.codebook.vectors.T.to(h.dtype) - self.bias)
