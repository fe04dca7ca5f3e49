"""What a head over tokens can read of each tower: the tokens, or the pooled features where only those are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.model import Model, Processor, is_frozen
from diptych.data.processors import ImageProcessor, pad_ragged
from diptych.models.modes import evaluating


@dataclass(frozen=True)
class Reading:
    """How a head reads a tower.

    Attributes:
        width: of what it reads.
        pooled: whether that is the pooled features, as of frozen towers (whose tokens take many times the room to
            store) and of towers without tokens; else the tokens.
    """

    width: int
    pooled: bool


def readings(model: Model) -> dict[str, Reading]:
    """How a head over tokens reads each tower; towers that are trained are run once, on one blank row."""
    return {name: _reading(model, name) for name in model.towers}


def with_heads(model: Model, heads: Mapping[str, Mapping[str, nn.Module]], *, parts: Mapping[str, nn.Module]) -> Model:
    """A model of the same towers and processors with other heads and parts."""
    return Model(dict(model.towers.items()), heads, parts, model.processors, model.routes)


def vocabulary_size(model: Model) -> int:
    """How many token ids the text tower's processor may give.

    Raises:
        ValueError: if the processor of texts has no vocabulary.
    """
    size = getattr(model.processors["text"], "vocab_size", None)
    if size is None:
        raise ValueError(f"{type(model.processors['text']).__name__} has no vocabulary; lexical heads need one")
    return int(size)


@torch.no_grad()
def _reading(model: Model, name: str) -> Reading:
    tower = model.towers[name]
    if is_frozen(tower):
        return Reading(int(tower.width), True)  # type: ignore[arg-type]
    with evaluating(tower):
        features = tower(_blank(model.processors[name]))
    if features.tokens is None:
        return Reading(features.pooled.shape[-1], True)
    return Reading(features.tokens.shape[-1], False)


def _blank(processor: Processor) -> dict[str, Tensor]:
    """One row of inputs that any tower of the modality takes."""
    if isinstance(processor, ImageProcessor):
        return {"pixels": torch.zeros(1, *processor.shape, dtype=torch.uint8)}
    return pad_ragged([np.zeros(2, np.int32)], 0, getattr(processor, "fixed_length", None))


def kind_of(head: nn.Module) -> str:
    """Which kind of space of an index a head fills: its `kind`, "dense" if it names none."""
    return str(getattr(head, "kind", "dense"))


def reads_tokens(heads: nn.Module) -> bool:
    """Whether any of a tower's heads reads its tokens: one that says so by `reads_tokens`, or is named "tokens"."""
    named = dict(heads.named_children())
    return "tokens" in named or any(getattr(head, "reads_tokens", False) for head in named.values())
