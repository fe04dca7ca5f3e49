"""The scale is learned, and clipped; pairs agree with the full matrix."""

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.scoring import Dot


def unit(rows: int, seed: int) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding({"dense": F.normalize(torch.randn(rows, 8, generator=generator), dim=-1)})


def test_the_scale_is_clipped():
    scorer = Dot(90.0)
    with torch.no_grad():
        scorer.log_scale.add_(5)
    scale = scorer.current_scale()
    assert scale.item() == pytest.approx(100.0)
    scale.backward()
    assert scorer.log_scale.grad is not None and scorer.log_scale.grad.item() > 0  # it can come down again


def test_pairs_are_the_diagonal():
    a, b, scorer = unit(6, 0), unit(6, 1), Dot(7.0, bias=-3.0)
    torch.testing.assert_close(scorer.pairs(a, b), scorer(a, b).diagonal())
    assert float(scorer(a, a)[0, 0].detach()) == pytest.approx(4.0, abs=1e-5)
