"""Detection against scikit-learn and scipy, ties among them; thresholds and scores worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from diptych.evaluation.detection import (
    auroc,
    average_precision_of,
    detect,
    energy,
    false_positive_rate,
    max_logit,
    maximum_concept_matching,
    threshold_at,
)


def scores(values: int, seed: int, *, known: int = 80, unknown: int = 50) -> tuple[Tensor, Tensor]:
    """Scores out of `values` different ones, so that few of them tie or most."""
    rng = np.random.default_rng(seed)
    high, low = rng.integers(0, values, known) + values // 5, rng.integers(0, values, unknown)
    return torch.from_numpy(high).float(), torch.from_numpy(low).float()


@pytest.mark.parametrize("values", [1, 3, 20, 10**6])
def test_areas_are_those_of_peers_with_ties_and_without(values: int) -> None:
    known, unknown = scores(values, values)
    both, is_known = torch.cat([known, unknown]).numpy(), np.repeat([1, 0], [80, 50])
    found = detect(known, unknown)
    assert found.auroc == pytest.approx(roc_auc_score(is_known, both), abs=1e-12)
    assert found.auroc == pytest.approx(mannwhitneyu(known, unknown).statistic / (80 * 50), abs=1e-12)
    assert found.aupr_known == pytest.approx(average_precision_score(is_known, both), abs=1e-12)
    assert found.aupr_unknown == pytest.approx(average_precision_score(1 - is_known, -both), abs=1e-12)
    false, true, _ = roc_curve(is_known, both, drop_intermediate=False)
    assert found.fpr95 == pytest.approx(false[true >= 0.95 - 1e-12].min(), abs=1e-12)
    assert (known >= found.threshold).double().mean() >= 0.95
    assert (found.known, found.unknown) == (80, 50)
    assert found.flat("mcm")["mcm_fpr95"] == found.fpr95


def test_a_constant_score_gets_chance() -> None:
    found = detect(torch.ones(30), torch.ones(10))
    assert (found.auroc, found.aupr_known, found.aupr_unknown, found.fpr95) == (0.5, 0.75, 0.25, 1.0)


def test_hand_worked_thresholds() -> None:
    known = torch.arange(20.0)  # 19 of 20 are 95 %, so 0 may be left out and 1 may not
    assert threshold_at(known) == 1.0
    assert false_positive_rate(known, torch.tensor([0.5, 1.0, 3.0, -1.0])) == 0.5
    assert threshold_at(known, recall=1.0) == 0.0
    assert threshold_at(known, recall=0.951) == 0.0
    assert threshold_at(known, recall=0.01) == 19.0


def test_infinities_rank_and_tie() -> None:
    low, high = torch.tensor([-math.inf, 0.0]), torch.tensor([0.0, math.inf])
    assert auroc(high, low) == 0.875
    assert average_precision_of(torch.tensor([math.inf]), low) == 1.0


def test_swapping_sides_and_signs_changes_nothing() -> None:
    known, unknown = scores(7, 1)
    assert auroc(known, unknown) == pytest.approx(auroc(-unknown, -known))
    assert auroc(known, unknown) + auroc(unknown, known) == pytest.approx(1.0)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 5.0])
def test_scores_are_those_of_scipy(temperature: float) -> None:
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = softmax(logits.numpy() / temperature, axis=1).max(1)
    np.testing.assert_allclose(maximum_concept_matching(logits, temperature), expected, rtol=1e-12)
    expected = temperature * np.asarray(logsumexp(logits.numpy() / temperature, axis=1))
    np.testing.assert_allclose(energy(logits, temperature), expected, rtol=1e-12)
    assert torch.equal(max_logit(logits), logits.max(1).values)
    assert (energy(logits, temperature) <= max_logit(logits) + temperature * math.log(5) + 1e-12).all()


def test_what_makes_no_sense_is_refused() -> None:
    some = torch.ones(3)
    with pytest.raises(ValueError, match=r"1 or more negative scores in a line, not the shape \(0,\)"):
        auroc(some, torch.zeros(0))
    with pytest.raises(ValueError, match=r"1 or more positive scores in a line, not the shape \(3, 1\)"):
        detect(some[:, None], some)
    with pytest.raises(ValueError, match="1 of 3 negative scores are NaN, the first of row 1"):
        false_positive_rate(some, torch.tensor([0.0, math.nan, 1.0]))
    with pytest.raises(ValueError, match="recall is 0"):
        threshold_at(some, recall=0)
    with pytest.raises(ValueError, match="temperature is 0"):
        maximum_concept_matching(torch.eye(2), 0)
    with pytest.raises(ValueError, match=r"expected \[N, C\]"):
        max_logit(some)
