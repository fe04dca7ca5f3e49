"""The lexical head: an image or a text as weights of words, most of them zero, so that an inverted index can find it.

    logits(t, v) = w_v . h(x_t) + b_v         of every real token t and word v
    weight(v)    = log(1 + relu(max_t logits(t, v)))            (SPLADE's, LexLIP's)
                or max_t elu(logits(t, v)) + 1, of unit length  (VDR's)

Dimension v means word v: both towers need the same word list, by default the text processor's own vocabulary
(`words_of`). What makes dimensions mean their words is the training: a bottleneck that restores texts from the weights
(LexLIP), or a gate that lets a text use its own words (VDR). Use it where a score must be explained by words, or
searched by an inverted index; a dense head of the same tower ranks better for its size.

Sources: Formal et al. 2021 (SPLADE v2, the max), arXiv 2109.10086; Luo et al. 2023 (LexLIP), arXiv 2302.02908;
Zhou et al. 2022 (VDR: elu + 1, top-k, the gate), arXiv 2212.07699.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features
from diptych.core.model import Processor
from diptych.encoders.linear import Linear
from diptych.encoders.over_tokens import head_tokens, largest_logits

WordActivation = Literal["log1p_relu", "elu1p"]


class LexicalHead(nn.Module):
    """Tokens to weights of words, none below zero.

    Args:
        features: width D of a token, or of the pooled features where these are read.
        vocab: number of words V.
        activation: of the largest logit: `"log1p_relu"` gives zeros, `"elu1p"` (`elu(x) + 1`) gives none by itself.
        topk: the most words that a row keeps; None keeps all.
        straight_through: whether words that `topk` drops get the gradient that they would get had they been kept.
        unit: whether rows are scaled to length 1, before words are dropped.
        gate: whether the words that the text has are kept besides the `topk` (0 keeps them alone); the tower must
            be a `WithBag`.
        transform: a dense layer, GELU and LayerNorm before the logits, as in BERT's head for masked words; else a
            LayerNorm alone.
        pooled: read the pooled features as if they were the one token: for frozen towers, of which only those are
            stored. Towers that give no tokens are read so anyway.
        words: what the dimensions mean; empty for the vocabulary of the text processor.
    """

    kind = "lexical"  # of the space in an index

    def __init__(
        self,
        features: int,
        vocab: int,
        *,
        activation: WordActivation = "log1p_relu",
        topk: int | None = None,
        straight_through: bool = False,
        unit: bool = False,
        gate: bool = False,
        transform: bool = True,
        pooled: bool = False,
        words: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if words and len(words) != vocab:
            raise ValueError(f"there are {len(words)} words for {vocab} dimensions; give one for each, or none")
        if topk is not None and not (0 if gate else 1) <= topk <= vocab:
            raise ValueError(f"topk is {topk}; expected 1 to vocab, {vocab} (0 with a gate), or None for all")
        self.features, self.vocab, self.activation, self.topk = features, vocab, activation, topk
        self.straight_through, self.unit, self.gate = straight_through, unit, gate
        self.transform, self.pooled, self.words = transform, pooled, words
        self.norm = nn.LayerNorm(features)
        self.dense = Linear(features, features) if transform else None
        self.logits = Linear(features, vocab)
        self.weigh = {"log1p_relu": _log1p_relu, "elu1p": _elu1p}[activation]

    @property
    def reads_tokens(self) -> bool:
        """Whether a tower's tokens are wanted, not its pooled features alone."""
        return not self.pooled

    def forward(self, features: Features) -> Tensor:
        """`[N, vocab]` float32 or better, none below zero; a row without a real token is all zeros.

        Raises:
            ValueError: if there is a gate and the tower gives no bag.
        """
        tokens, mask = head_tokens(features, self.features, self.pooled)
        logits = largest_logits(self._logits, tokens, mask, self.vocab)
        weights = self.weigh(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        if self.unit:
            weights = F.normalize(weights, dim=-1)
        if self.topk is None:
            return weights
        kept = torch.zeros_like(weights, dtype=torch.bool)
        kept.scatter_(1, weights.detach().topk(self.topk, dim=1).indices, True)
        if self.gate:
            kept |= self._bag(features)
        dropped = weights * kept
        return weights + (dropped - weights).detach() if self.straight_through else dropped

    def _bag(self, features: Features) -> Tensor:
        wide = features.pooled.shape[1]
        if wide <= self.vocab:
            raise ValueError(
                f"the gate reads the text's words behind the pooled features, which are only {wide} wide for "
                f"{self.vocab} words: wrap the text tower in diptych.encoders.WithBag"
            )
        return features.pooled[:, -self.vocab :] > 0

    def _logits(self, tokens: Tensor) -> Tensor:
        x = self.norm(tokens) if self.dense is None else self.norm(F.gelu(self.dense(tokens)))
        return self.logits(x)


def _log1p_relu(logits: Tensor) -> Tensor:
    return logits.relu().log1p()


def _elu1p(logits: Tensor) -> Tensor:
    return F.elu(logits) + 1


def special_ids(processor: Processor) -> tuple[int, ...]:
    """The token ids of a text processor that are marks (padding, the end) and no words."""
    definition = getattr(processor, "definition", None)
    if definition is None:
        return (0, 1)  # what a TextProcessor will set aside when it is fitted
    return tuple(one["id"] for one in json.loads(definition).get("added_tokens", ()) if one.get("special"))


def term_names(head: nn.Module, processor: Processor) -> tuple[str, ...]:
    """What the dimensions of a head for a lexical space mean; empty where they have no names (`TermHead`).

    Args:
        head: its `words` name the dimensions; if these are empty, the text processor's vocabulary does.
        processor: of texts.

    Raises:
        ValueError: if the processor is asked and has no vocabulary.
    """
    words = getattr(head, "words", None)
    return () if words is None else tuple(words) or words_of(processor)


def words_of(processor: Processor) -> tuple[str, ...]:
    """What a text processor's tokens look like, by number: the meaning of a lexical head's dimensions.

    Pieces inside a word look as the tokenizer writes them; bytes that are no text alone as its raw token.

    Raises:
        ValueError: if the processor has no vocabulary (yet).
    """
    definition = getattr(processor, "definition", None)
    if definition is None:
        raise ValueError(f"{type(processor).__name__} has no vocabulary: give a text processor, after fit(texts)")
    tokenizer = Tokenizer.from_str(definition)
    raw = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    read = tokenizer.decode_batch([[i] for i in range(len(raw))], skip_special_tokens=False)
    words = [
        text.strip() if text.strip() and "\ufffd" not in text else token or ""
        for text, token in zip(read, raw, strict=True)
    ]
    return tuple(words) + ("",) * (int(getattr(processor, "vocab_size", 0)) - len(words))
