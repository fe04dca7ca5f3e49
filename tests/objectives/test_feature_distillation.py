"""FeatureDistillation against PyTorch's own mean squared error, as CLIP-KD takes it, and with a projection."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding, Features, Pairing
from diptych.encoders import Projection
from diptych.objectives import FeatureDistillation


def pairing_of(ours: torch.Tensor, theirs: torch.Tensor, rows: slice, **parts: torch.nn.Module) -> Pairing:
    teacher = Pairing({"image": Embedding({"dense": theirs})}, {"image": rows}, {}, {}, {})
    return Pairing({"image": Embedding({"dense": ours})}, {"image": rows}, {}, {}, parts, teacher=teacher)


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_it_is_the_mean_squared_error_times_the_rows():
    ours, theirs = unit(6, 5, 0), unit(8, 5, 1)  # the teacher remembers two rows more
    got = FeatureDistillation()(pairing_of(ours, theirs, slice(0, 6)))
    assert float(got) == pytest.approx(6 * float(F.mse_loss(ours, theirs[:6])), rel=1e-6)  # float32
    part = FeatureDistillation()(pairing_of(ours, theirs, slice(2, 5)))
    assert float(part) == pytest.approx(3 * float(F.mse_loss(ours[2:5], theirs[2:5])), rel=1e-6)  # float32


def test_for_unit_vectors_it_is_two_minus_twice_the_cosine_over_the_width():
    ours, theirs = unit(1, 4, 0), unit(1, 4, 1)
    got = FeatureDistillation()(pairing_of(ours, theirs, slice(0, 1)))
    assert float(got) == pytest.approx((2 - 2 * float((ours * theirs).sum())) / 4, rel=1e-5)  # float32


def test_a_projection_bridges_the_widths():
    ours, theirs = unit(6, 5, 0), unit(6, 9, 1)
    pairing = pairing_of(ours, theirs, slice(0, 6))
    with pytest.raises(ValueError, match=r"have width 5 and the teacher's 9.*projection"):
        FeatureDistillation()(pairing)
    torch.manual_seed(0)
    wider = Projection(5, 9)
    got = FeatureDistillation(projection="wider")(replace(pairing, parts={"wider": wider}))
    assert float(got.detach()) == pytest.approx(6 * float(F.mse_loss(wider(Features(ours)), theirs).detach()), rel=1e-6)
    assert FeatureDistillation(projection="wider").needs.parts == {"wider"}
