"""Scores are the share of equal bits less that of others, exactly; packed codes count the same bits."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.core import Embedding
from diptych.encoders import pack
from diptych.scoring import Hamming, hamming_distances


def codes(rows: int, bits: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], (rows, bits)).astype(np.float32))


def differing(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Bits that differ, one by one."""
    return np.array([[sum(x != y for x, y in zip(one, two, strict=True)) for two in b.tolist()] for one in a.tolist()])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 20), st.integers(0, 1000))
def test_packed_distances_are_those_counted_bit_by_bit(queries: int, rows: int, size: int, seed: int):
    a, b = codes(queries, 8 * size, seed), codes(rows, 8 * size, seed + 1)
    found = hamming_distances(pack(a), pack(b))
    assert found.dtype == torch.int16
    np.testing.assert_array_equal(found.numpy(), differing(a, b))


def test_distances_are_the_same_whatever_is_compared_at_a_time(monkeypatch: pytest.MonkeyPatch):
    a, b = codes(37, 72, 0), codes(101, 72, 1)
    whole = hamming_distances(pack(a), pack(b))
    for size in (1, 10, 250):
        monkeypatch.setattr("diptych.scoring.hamming.AT_ONCE", size)
        assert torch.equal(hamming_distances(pack(a), pack(b)), whole)
    assert torch.equal(whole, ((72 - a @ b.T) / 2).short())


def test_more_differing_bits_than_a_byte_counts():
    a = torch.zeros(1, 50, dtype=torch.uint8)
    assert hamming_distances(a, 255 - a).tolist() == [[400]]


def test_nothing_to_compare():
    a = torch.zeros(0, 8, dtype=torch.uint8)
    assert hamming_distances(a, a).shape == (0, 0)
    assert hamming_distances(a, torch.zeros(3, 8, dtype=torch.uint8)).shape == (0, 3)


def test_what_is_not_packed_is_refused():
    with pytest.raises(ValueError, match="pack them first"):
        hamming_distances(codes(2, 8, 0), codes(2, 8, 1))
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(2, 2\)"):
        hamming_distances(pack(codes(2, 8, 0)), pack(codes(2, 16, 1)))


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
def test_equal_distances_score_equally_and_nearer_ones_higher(scale: float):
    a, b = codes(5, 64, 0), codes(300, 64, 1)
    scores = Hamming(scale)(Embedding({"code": a}), Embedding({"code": b})).detach()
    distances = torch.from_numpy(differing(a, b))
    for at, row in zip(distances, scores, strict=True):
        by_distance = [row[at == d].unique() for d in at.unique()]  # nearest first
        assert all(len(same) == 1 for same in by_distance)
        assert all(near > far for near, far in pairwise(by_distance))
    # float32: the scale is kept as its logarithm
    torch.testing.assert_close(scores, scale * (64 - 2 * distances).float() / 64, rtol=1e-5, atol=1e-5)


def test_pairs_are_the_diagonal_and_relaxed_codes_carry_gradients():
    a, b = (torch.randn(6, 16, generator=torch.Generator().manual_seed(i)).tanh().requires_grad_() for i in (0, 1))
    scorer = Hamming(7.0)
    left, right = Embedding({"code": a}), Embedding({"code": b})
    torch.testing.assert_close(scorer.pairs(left, right), scorer(left, right).diagonal())
    scorer.pairs(left, right).sum().backward()
    assert a.grad is not None
    torch.testing.assert_close(a.grad, 7 * b.detach() / 16)


def test_the_scale_is_clipped():
    scorer = Hamming(90.0)
    with torch.no_grad():
        scorer.log_scale.add_(5)
    assert scorer.current_scale().item() == pytest.approx(100.0)
    with pytest.raises(ValueError, match="at most max_scale"):
        Hamming(200.0)
