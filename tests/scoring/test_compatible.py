"""Scores in the old space are cosines of what the projection gives."""

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.scoring import Compatible


def unit(rows: int, width: int, seed: int) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding({"dense": F.normalize(torch.randn(rows, width, generator=generator), dim=-1)})


def test_new_is_compared_with_new_and_with_old_in_the_old_space():
    torch.manual_seed(0)
    scorer, a, b, old = Compatible(6, 9, scale=5.0), unit(4, 6, 0), unit(7, 6, 1), unit(3, 9, 2)
    moved = [e.dense @ scorer.projection.linear.weight.T for e in (a, b)]
    # float32 cosines times 5
    torch.testing.assert_close(
        scorer(a, b), 5 * F.cosine_similarity(moved[0][:, None], moved[1][None], dim=2), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        scorer.against_old(a, old),
        5 * F.cosine_similarity(moved[0][:, None], old.dense[None], dim=2),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(scorer.pairs(a, b[:4]), scorer(a, b[:4]).diagonal())
    assert scorer.project(a).dense.shape == (4, 9)
    assert scorer.project(a).dense.norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
