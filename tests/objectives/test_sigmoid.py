"""The sigmoid loss worked by hand, and against binary cross-entropy with logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Batch, Embedding, Pairing, Scorer
from diptych.objectives import Sigmoid
from diptych.scoring import Dot

IMAGE_KEYS = torch.tensor([[0, -1], [1, 9], [2, -1], [7, -1]])
TEXT_KEYS = torch.tensor([[0, -1], [0, -1], [1, -1], [2, 9], [8, -1]])
MATCH = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.float64)


class Table(Scorer):
    """Scores that are given."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self.scores


def pairing(image: Tensor, text: Tensor, image_keys: Tensor, text_keys: Tensor, scorer: Scorer) -> Pairing:
    everything = {"image": Embedding({"dense": image}), "text": Embedding({"dense": text})}
    rows = {"image": slice(0, len(image)), "text": slice(0, len(text))}
    return Pairing(everything, rows, {"image": image_keys, "text": text_keys}, {}, {"dot": scorer})


def test_two_pairs_by_hand():
    """Of unit vectors at right angles, scale 10 and bias -10 make 0 of a match and -10 of the others."""
    eye, keys = torch.eye(2, dtype=torch.float64), torch.tensor([[0], [1]])
    loss = Sigmoid()(pairing(eye, eye, keys, keys, Dot(10.0, bias=-10.0).double()))
    assert float(loss.detach()) == pytest.approx(2 * math.log(2) + 2 * math.log1p(math.exp(-10)), rel=1e-6)


def test_every_row_with_a_shared_key_is_positive_and_every_other_negative():
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(n, 6, generator=generator, dtype=torch.float64), dim=1) for n in (4, 5))
    expected = F.binary_cross_entropy_with_logits(5 * image @ text.T - 2, MATCH, reduction="sum")
    loss = Sigmoid()(pairing(image, text, IMAGE_KEYS, TEXT_KEYS, Dot(5.0, bias=-2.0).double()))
    # The scale is kept as its logarithm, rounded in float32 before `double()`: 1e-7 of the scores.
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-6, atol=0)


def test_any_scorer_will_do():
    scores = torch.linspace(-4, 4, 20, dtype=torch.float64).reshape(4, 5)
    expected = F.binary_cross_entropy_with_logits(scores, MATCH, reduction="sum")
    loss = Sigmoid()(pairing(torch.zeros(4, 1), torch.zeros(5, 1), IMAGE_KEYS, TEXT_KEYS, Table(scores)))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_its_mean_is_over_images():
    inputs = {"image": {"x": torch.zeros(4)}, "text": {"x": torch.zeros(5)}}
    items = {"image": torch.arange(4), "text": torch.arange(5)}
    assert float(Sigmoid().size(Batch(inputs, {"image": IMAGE_KEYS, "text": TEXT_KEYS}, items))) == 4


def test_the_learned_bias_moves_to_where_matches_are_as_rare_as_they_are():
    """With scores that say nothing, the best bias is the log-odds of a match: 1 in 8 here."""
    image, text = torch.zeros(8, 2), torch.zeros(8, 2)
    keys, dot = torch.arange(8)[:, None], Dot(1.0, bias=0.0)
    optimizer = torch.optim.Adam(dot.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        Sigmoid()(pairing(image, text, keys, keys, dot)).backward()
        optimizer.step()
    assert dot.offset is not None
    assert float(dot.offset.detach()) == pytest.approx(math.log(1 / 7), abs=1e-3)  # Adam's last steps are about 1e-4


def test_two_views_that_are_one():
    with pytest.raises(ValueError, match="two views"):
        Sigmoid("image", "image")
