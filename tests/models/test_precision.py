"""bf16 only where it is fast, pays, and keeps directions."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.models import precision
from diptych.models.precision import autocast_for, chosen


class Rows(nn.Module):
    """A linear tower; `cancel` makes it subtract nearly equal numbers, which bf16 cannot."""

    def __init__(self, cancel: float = 0.0) -> None:
        super().__init__()
        self.linear, self.cancel, self.width = nn.Linear(64, 32, bias=False), cancel, 32

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        y = self.linear(inputs["x"])
        return Features((y + self.cancel) - self.cancel)


def model_of(tower: nn.Module) -> Model:
    return Model({"image": tower}, {"image": {}}, {}, {})


INPUTS = {"x": torch.randn(8, 64, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "is_bf16_fast", lambda device: True)


def test_small_towers_and_slow_devices_stay_in_float32(monkeypatch: pytest.MonkeyPatch, fast: None):
    assert chosen(model_of(Rows()), "image", INPUTS) == "float32"  # 2,048 weights
    monkeypatch.setattr(precision, "SMALL", 1)
    assert chosen(model_of(Rows()), "image", INPUTS) == "bf16"
    monkeypatch.setattr(precision, "is_bf16_fast", lambda device: False)
    assert chosen(model_of(Rows()), "image", INPUTS) == "float32"


def test_bf16_that_turns_vectors_is_refused(
    monkeypatch: pytest.MonkeyPatch, fast: None, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(precision, "SMALL", 1)
    with caplog.at_level(logging.WARNING):
        assert chosen(model_of(Rows(cancel=100.0)), "image", INPUTS) == "float32"
    assert "would turn vectors of image" in caplog.text


def test_what_is_asked_for_is_done():
    assert chosen(model_of(Rows()), "image", INPUTS, "bf16") == "bf16"
    x = torch.randn(2, 64)
    with autocast_for(torch.device("cpu"), "bf16")():
        assert nn.Linear(64, 4)(x).dtype == torch.bfloat16
    with autocast_for(torch.device("cpu"), "float32")():
        assert nn.Linear(64, 4)(x).dtype == torch.float32
