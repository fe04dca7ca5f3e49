"""Codes are signs, their gradient that of the estimator's definition; packing loses nothing and is NumPy's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diptych.core import Features
from diptych.core.configuration import build, describe
from diptych.encoders import HashHead, pack, unpack
from diptych.encoders.hashing import sign_through

PACKED = arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(1, 12)))


def features(rows: int = 7, width: int = 6) -> Features:
    return Features(torch.randn(rows, width, generator=torch.Generator().manual_seed(0)))


def test_the_gradient_goes_straight_through_the_sign():
    x = torch.tensor([-2.0, -0.1, -0.0, 0.0, 0.3, 5.0], requires_grad=True)
    y = sign_through(x)
    assert y.tolist() == [-1, -1, 1, 1, 1, 1]  # a bit is set where a number is not below 0
    weights = torch.tensor([1.0, -2, 3, -4, 5, -6])
    (weights * y).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, weights)  # as if the sign had not been there


def test_a_head_in_training_has_the_gradient_of_its_linear_map():
    """Bengio et al. 2013: the layer's weights get what they would get if its output had not been rounded."""
    torch.manual_seed(0)
    head, x, down = HashHead(6, 16, layer_norm=False), features(), torch.randn(7, 16)
    (down * head(x)).sum().backward()
    assert head.linear.weight.grad is not None and head.linear.bias.grad is not None
    # float32 sums of seven terms
    torch.testing.assert_close(head.linear.weight.grad, down.T @ x.pooled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head.linear.bias.grad, down.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("relaxed", [False, True])
def test_codes_in_use_are_the_signs_of_those_in_training(relaxed: bool):
    torch.manual_seed(0)
    head, x = HashHead(6, 16, hidden=4, relaxed=relaxed), features()
    training = head(x)
    used = head.eval()(x)
    assert used.shape == (7, 16) and set(used.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(used, torch.where(training < 0, -1.0, 1.0))
    between = bool((training.abs() < 1).all())
    assert between == relaxed


def test_a_head_in_bfloat16_still_gives_whole_signs():
    head = HashHead(6, 16).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        code = head(features())
    assert code.dtype == torch.float32 and set(code.unique().tolist()) == {-1.0, 1.0}


def test_a_head_describes_itself():
    head = HashHead(6, 16, hidden=4, dropout=0.1, layer_norm=False, relaxed=True)
    again = build(describe(head))
    assert describe(again) == describe(head) and again.state_dict().keys() == head.state_dict().keys()
    with pytest.raises(ValueError, match="at least 1"):
        HashHead(6, 0)


@settings(max_examples=60, deadline=None)
@given(PACKED)
def test_packing_is_numpys_and_loses_nothing(packed: np.ndarray):
    codes = unpack(torch.from_numpy(packed))
    assert codes.shape == (len(packed), 8 * packed.shape[1]) and set(codes.unique().tolist()) <= {-1.0, 1.0}
    np.testing.assert_array_equal((codes > 0).numpy(), np.unpackbits(packed, axis=1).astype(bool))
    assert torch.equal(pack(codes), torch.from_numpy(packed))


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(ValueError, match=r"codes of 12 bits.*make them of 16"):
        pack(torch.ones(3, 12))
    with pytest.raises(ValueError, match="uint8"):
        unpack(torch.ones(3, 2))
