"""One tower of another library's model: its encoder, what makes its inputs, and its own projection."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from diptych.core.encoder import Encoder
from diptych.core.model import Model, Processor
from diptych.scoring.dot import Dot


@dataclass(frozen=True)
class Tower:
    """An opened tower.

    Attributes:
        encoder: with the checkpoint's weights.
        processor: makes its inputs as the checkpoint says.
        head: its projection to unit vectors; `UnitLength` where it has none.
    """

    encoder: Encoder
    processor: Processor
    head: nn.Module


def assembled(image: Tower | None, text: Tower | None, dot: Dot | None = None) -> Model:
    """A model of one or two towers, in eval mode.

    Args:
        image: the tower `"image"`, if there is one.
        text: the tower `"text"`, likewise.
        dot: the part `"dot"`, with the checkpoint's scale; None for a new one.
    """
    towers = {name: tower for name, tower in (("image", image), ("text", text)) if tower is not None}
    return Model(
        {name: tower.encoder for name, tower in towers.items()},
        {name: {"dense": tower.head} for name, tower in towers.items()},
        {"dot": dot or Dot()},
        {name: tower.processor for name, tower in towers.items()},
    ).eval()
