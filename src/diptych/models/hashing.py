"""The dual encoder for codes: an image tower, a text tower, and a hash head each."""

from __future__ import annotations

from typing import cast

from torch import nn

from diptych.core.encoder import Encoder
from diptych.core.model import Model
from diptych.encoders import HashHead
from diptych.models.dual import Towers, dual_encoder
from diptych.scoring import Hamming


def hashing_encoder(towers: Towers, *, bits: int, scorer: Hamming, relaxed: bool = True) -> Model:
    """Put the two towers together, with codes in the space `"code"` and the scorer as the part `"hamming"`.

    Args:
        towers: which they are; `width` is not used, for codes have `bits`.
        bits: of a code.
        scorer: what compares codes.
        relaxed: whether training sees tanh in place of the sign, see `HashHead`.
    """
    model = dual_encoder(towers, parts={"hamming": scorer})
    for name, tower in model.towers.items():
        width = cast(Encoder, tower).width
        head = HashHead(width, bits, hidden=towers.hidden, dropout=towers.dropout, relaxed=relaxed)
        model.heads[name] = nn.ModuleDict({"code": head})
    return model
