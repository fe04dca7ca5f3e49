"""DynamicDistillation against sums worked anchor by anchor in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from diptych.core import Embedding, Pairing, PairScores
from diptych.objectives import DynamicDistillation
from diptych.objectives.dynamic_distillation import uncertainty
from diptych.scoring import Dot

INDEX = torch.tensor([[0, 2, 1, 3], [1, 3, 0, -1], [2, -1, -1, -1], [-1, -1, -1, -1]])
SCORES = torch.tensor([[2.0, 0.5, 3.0, -1.0], [0.0, 0.1, 0.2, 99.0], [1.0, 9.0, 9.0, 9.0], [9.0] * 4]).double()
KEPT = [[0, 1], [1, 0], [], []]  # with hard = 1: the positive, and the other row that the teacher likes best


def pairing(scores: torch.Tensor = SCORES) -> Pairing:
    random = np.random.default_rng(0)
    everything = {}
    for view in ("text", "image"):
        x = random.normal(size=(4, 6))
        everything[view] = Embedding({"dense": torch.tensor(x / np.linalg.norm(x, axis=1, keepdims=True))})
    rows = {"text": slice(0, 4), "image": slice(0, 4)}
    keys = {view: torch.arange(4)[:, None] for view in rows}
    pair_scores = {("text", "image"): PairScores(INDEX, scores)}
    return Pairing(everything, rows, keys, {}, {"dot": Dot(5.0).double()}, pair_scores=pair_scores)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize(("soft", "tau"), [(0.2, 1.0), (1.0, 2.0), (0.0, 1.0)])
def test_it_is_the_sum_worked_by_hand(soft: float, tau: float):
    shown = pairing()
    text, image = (shown.all[view].dense.numpy() for view in ("text", "image"))
    expected = 0.0
    for i, rows in enumerate(KEPT):
        if rows:
            theirs = np.array([float(SCORES[i][INDEX[i] == j]) for j in rows])
            ours = np.array([5.0 * text[i] @ image[j] for j in rows])
            p = softmax(theirs)
            unsure = -(p * np.log(p)).sum() / np.log(len(rows))
            t, s = softmax(theirs / tau), softmax(ours / tau)
            follow = tau**2 * (t * np.log(t / s)).sum()
            expected += soft * (1 - unsure) ** 2 * follow - (1 - soft) * unsure * np.log(softmax(ours)[0])
    got = DynamicDistillation(hard=1, soft=soft, temperature=tau)(shown)
    assert float(got.detach()) == pytest.approx(expected, rel=1e-6)  # the scale is kept in float32


def test_a_sure_teacher_is_followed_and_an_unsure_one_leaves_it_to_the_labels():
    """With the teacher's scores all equal only the labels are learned; with one far above the rest only the teacher."""
    sure = torch.where(torch.arange(4) == 1, 60.0, -60.0).double().expand(4, 4)  # a row that is no positive
    for scores, soft, ours in ((torch.zeros(4, 4).double(), 1.0, 0.0), (sure, 0.0, 0.0)):
        assert float(DynamicDistillation(soft=soft)(pairing(scores)).detach()) == pytest.approx(ours, abs=1e-9)
    assert float(DynamicDistillation(soft=0.0)(pairing(torch.zeros(4, 4).double())).detach()) > 0.1
    assert float(DynamicDistillation(soft=1.0)(pairing(sure)).detach()) > 0.1


def test_what_the_teacher_ranks_low_has_no_say():
    values = []
    for low in (-1.0, -50.0):
        scores = SCORES.clone()
        scores[0, 3] = low
        values.append(float(DynamicDistillation(hard=2)(pairing(scores)).detach()))
    assert values[0] == values[1]


def test_uncertainty_by_hand():
    p = np.array([0.7, 0.2, 0.1])
    scores = torch.tensor(np.log(p))[None]
    every = torch.ones(1, 3, dtype=torch.bool)
    assert float(uncertainty(scores, every)) == pytest.approx(-(p * np.log(p)).sum() / np.log(3), rel=1e-12)
    assert float(uncertainty(scores, torch.tensor([[True, False, False]]))) == 0


def test_wrong_arguments_and_a_missing_teacher_are_named():
    for options, message in (
        ({"hard": 0}, "hard is 0"),
        ({"soft": 1.5}, "soft is 1.5"),
        ({"temperature": 0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DynamicDistillation(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no teacher scored pairs"):
        DynamicDistillation()(replace(pairing(), pair_scores={}))
