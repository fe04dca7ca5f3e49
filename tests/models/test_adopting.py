"""What a recipe takes of another library's model, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hf_checkpoints import FAMILIES, saved
from torch import Tensor, nn

import diptych
from diptych.core.embedding import Features
from diptych.core.model import is_frozen
from diptych.models import Towers, dual_encoder
from diptych.models.adopting import take_towers
from diptych.models.checkpoint import fingerprint
from diptych.scoring import Dot

SMALL = Towers(image_size=16, width=8, vocab_size=300, patch=4, freeze="text")


class Tokens(nn.Module):
    def forward(self, features: Features) -> Tensor:
        assert features.tokens is not None
        return features.tokens


def test_towers_scale_and_processors_are_taken_and_the_recipes_freezing_kept(tmp_path: Path):
    init = diptych.load(f"hf:{saved(tmp_path, FAMILIES['clip']())}").requires_grad_(False)
    init.parts["dot"] = Dot(150.0, max_scale=200.0)
    model = dual_encoder(SMALL, parts={"dot": Dot()})
    take_towers(model, init)
    assert model.towers["image"] is init.towers["image"] and model.processors["text"] is init.processors["text"]
    assert is_frozen(model.towers["text"]) and not is_frozen(model.towers["image"])
    assert all(head.weight.requires_grad for head in model.heads.modules() if isinstance(head, nn.Linear))
    assert float(model.parts["dot"].current_scale().detach()) == pytest.approx(150.0)  # type: ignore[operator]


def test_a_recipes_own_head_is_not_lost_in_silence(tmp_path: Path):
    init = diptych.load(f"hf:{saved(tmp_path, FAMILIES['clip']())}")
    model = dual_encoder(SMALL, parts={"dot": Dot()})
    model.heads["image"]["tokens"] = Tokens()  # type: ignore[operator, index]
    with pytest.raises(ValueError, match="image/tokens"):
        take_towers(model, init)


def test_a_pair_is_the_same_whenever_it_is_opened(tmp_path: Path):
    clip, bert = saved(tmp_path / "a", FAMILIES["clip"]()), saved(tmp_path / "b", FAMILIES["chinese_clip"]())
    names = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        names.append(fingerprint(diptych.load(f"hf:{clip}+hf:{bert}")))
    assert names[0] == names[1]
