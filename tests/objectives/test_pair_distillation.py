"""PairDistillation against a divergence worked pair by pair in NumPy; what stands beside a -1 has no say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diptych.core import Embedding, Pairing, PairScores
from diptych.objectives import PairDistillation
from diptych.scoring import Dot

INDEX = torch.tensor([[2, 0, 1], [3, 1, -1], [0, -1, -1], [-1, -1, -1]])


def pairing_of(scores: torch.Tensor) -> Pairing:
    random = np.random.default_rng(0)
    everything = {}
    for view in ("text", "image"):
        x = random.normal(size=(4, 6))
        everything[view] = Embedding({"dense": torch.tensor(x / np.linalg.norm(x, axis=1, keepdims=True))})
    rows = {"text": slice(0, 4), "image": slice(0, 4)}
    pair_scores = {("text", "image"): PairScores(INDEX, scores)}
    return Pairing(everything, rows, {}, {}, {"dot": Dot(5.0).double()}, pair_scores=pair_scores)


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize(("tau", "tau_teacher"), [(1.0, None), (2.0, 3.0)])
def test_it_is_the_divergence_over_the_scored_pairs(scores: torch.Tensor, tau: float, tau_teacher: float | None):
    pairing = pairing_of(scores)
    text, image = (pairing.all[view].dense.numpy() for view in ("text", "image"))
    expected = 0.0
    for i, known in enumerate([[2, 0, 1], [3, 1], [0], []]):
        if known:
            t = np.exp(scores[i, : len(known)].numpy() / (tau_teacher or tau))
            s = np.exp(np.array([5.0 * text[i] @ image[j] for j in known]) / tau)
            t, s = t / t.sum(), s / s.sum()
            expected += tau**2 * (t * np.log(t / s)).sum()
    got = PairDistillation(temperature=tau, teacher_temperature=tau_teacher)(pairing)
    assert float(got.detach()) == pytest.approx(expected, rel=1e-6)  # the scale is kept in float32


def test_what_stands_beside_a_pad_has_no_say_and_gets_no_gradient(scores: torch.Tensor):
    values = []
    for garbage in (0.0, 1e30):
        pairing = pairing_of(torch.where(INDEX < 0, garbage, scores))
        leaves = {view: e.map(lambda x: x.requires_grad_()) for view, e in pairing.all.items()}
        loss = PairDistillation()(replace(pairing, all=leaves))
        gradients = torch.autograd.grad(loss, leaves["text"].dense)[0]
        assert gradients.isfinite().all()
        assert not gradients[2:].any()  # one pair, or none, cannot be ranked
        values.append(float(loss.detach()))
    assert values[0] == values[1]


def test_pairs_that_no_teacher_scored_are_named(scores: torch.Tensor):
    with pytest.raises(ValueError, match=r"\('image', 'text'\).*CrossEncoder"):
        PairDistillation("image", "text")(pairing_of(scores))


def test_arguments_that_make_no_sense():
    with pytest.raises(ValueError, match="above 0"):
        PairDistillation(temperature=0.0)
