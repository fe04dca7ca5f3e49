"""Vectors of words by a model's text tower: what a frozen codebook is filled with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from diptych.core.model import Model
from diptych.data.pairs import tokenize
from diptych.models.modes import evaluating

WORDS_AT_ONCE = 256


def read_words(file: Path) -> tuple[str, ...]:
    """The words of a file, one a line; blank lines are passed over.

    Raises:
        ValueError: if it cannot be read, has no word, or has one twice; the message names the line.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the words of {file}: {error}; give a UTF-8 text file, a word a line") from error
    first: dict[str, int] = {}
    for number, word in enumerate(lines, 1):
        if word and word in first:
            raise ValueError(f"{file}, line {number}: {word!r} stands in line {first[word]} already; name it once")
        if word:
            first[word] = number
    if not first:
        raise ValueError(f"{file} has no words; expected one a line")
    return tuple(first)


@torch.no_grad()
def words_encoded(model: Model, words: Sequence[str]) -> Tensor:
    """Each word read as a text of its own: `[V, width]`, the text tower's pooled features.

    Raises:
        ValueError: if the text processor has no vocabulary yet.
    """
    processor = model.processors["text"]
    if getattr(processor, "definition", "") is None:
        raise ValueError(
            "the text tower's tokenizer is not fitted yet, so it cannot read words: name a pretrained --text, "
            "or leave out --words"
        )
    view, _ = tokenize(list(words), processor)
    cuts = torch.arange(len(words)).split(WORDS_AT_ONCE)
    with evaluating(model):
        return torch.cat([model.features("text", view.take(cut.numpy())).pooled.float() for cut in cuts])


@torch.no_grad()
def input_embeddings(model: Model, vocab: int) -> Tensor:
    """What the text tower begins with for each token: `[vocab, width]`, the first table of as many rows in it.

    Raises:
        ValueError: if there is none.
    """
    for module in model.towers["text"].modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings >= vocab:
            return cast(Tensor, module.weight)[:vocab].float().clone()
    raise ValueError(f"the text tower has no table of {vocab} token embeddings; give --words, a file with one a line")
