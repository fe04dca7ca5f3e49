"""Towers with batch norm: trained with fixed statistics, any cut gives one answer; with the batch's own, none would."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Batch, Encoder, Features, Model
from diptych.core.objective import example_keys
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.fit import _train_mode
from diptych.training.recipe import Phase
from diptych.training.step import step


class Normed(Encoder):
    """A linear map and a batch norm whose statistics are not those of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.blocks = 8, nn.ModuleList([nn.Linear(5, 8)])
        self.norm = nn.BatchNorm1d(8)
        nn.init.uniform_(self.norm.running_mean, -1, 1)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[str, Tensor]) -> Features:
        return Features(self.norm(self.blocks[0](inputs["x"])).tanh())


class Unit(nn.Module):
    def forward(self, features: Features) -> Tensor:
        return F.normalize(features.pooled, dim=-1)


def model_and_batch() -> tuple[Model, Batch]:
    torch.manual_seed(0)
    keys, items = example_keys()
    batch = Batch({view: {"x": torch.randn(len(own), 5).double()} for view, own in items.items()}, keys, items)
    heads = {"dense": Unit()}
    model = Model({"image": Normed(), "text": Normed()}, {"image": heads, "text": heads}, {"dot": Dot(10.0)}, {})
    return model.double(), batch


def gradients(micro: int | None) -> dict[str, Tensor]:
    model, batch = model_and_batch()
    objective = InfoNCE()
    _train_mode(model, Phase(objective))
    statistics = {name: x.clone() for name, x in model.named_buffers()}
    step(model, objective, batch, micro=micro)
    assert all(torch.equal(x, statistics[name]) for name, x in model.named_buffers())
    return {name: x.grad for name, x in model.named_parameters() if x.grad is not None}


def test_fixed_statistics_give_one_answer_in_micro_batches():
    plain, cut = gradients(None), gradients(3)
    assert {"towers.image.norm.weight", "towers.image.norm.bias"} <= plain.keys() == cut.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(cut[name], gradient, rtol=0, atol=1e-12)  # float64 sums of a few tens of terms


def test_statistics_of_the_batch_are_refused_by_name():
    model, batch = model_and_batch()
    model.train()
    with pytest.raises(ValueError, match="BatchNorm") as refusal:
        step(model, InfoNCE(), batch, micro=3)
    assert "towers.image.norm" in str(refusal.value)
