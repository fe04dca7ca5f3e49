"""Calibration against torchmetrics, scikit-learn and hand-worked bins; a temperature against a search of its own."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import fminbound
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from diptych.evaluation.calibration import calibration, fit_temperature, reliability


def drawn(rows: int = 500, classes: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from the softmax of half of them: the logits are twice too sure."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, (logits / 2).softmax(1).multinomial(1, generator=generator)[:, 0]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_errors_are_those_of_peers(bins: int) -> None:
    logits, labels = drawn()
    p = logits.softmax(1)
    found = calibration(p, labels, bins=bins)
    for ours, norm in ((found.ece, "l1"), (found.mce, "max")):
        theirs = multiclass_calibration_error(p, labels, num_classes=6, n_bins=bins, norm=norm)  # type: ignore[arg-type]
        assert ours == pytest.approx(float(theirs), abs=1e-6)
    of_classes = [binary_calibration_error(p[:, j], (labels == j).int(), n_bins=bins, norm="l1") for j in range(6)]
    assert found.classwise == pytest.approx(float(torch.stack(of_classes).mean()), abs=1e-6)
    assert found.brier == pytest.approx(brier_score_loss(labels.numpy(), p.numpy()), abs=1e-12)
    assert found.nll == pytest.approx(log_loss(labels.numpy(), p.numpy()), abs=1e-9)
    assert found.accuracy == (logits.argmax(1) == labels).double().mean().item()
    assert (found.rows, found.classes) == (500, 6)


def test_hand_worked() -> None:
    # Bins (0, 1/2] and (1/2, 1]: 0.5 belongs to the first. Right are rows 0 and 3.
    confidence = torch.tensor([0.5, 0.0, 0.6, 1.0], dtype=torch.float64)
    found = reliability(confidence, torch.tensor([True, False, False, True]), bins=2)
    assert found.count.tolist() == [2, 2]
    assert found.confidence.tolist() == [0.25, 0.8]
    assert found.accuracy.tolist() == [0.5, 0.5]
    assert found.expected_error == pytest.approx((0.25 + 0.3) / 2)
    assert found.maximum_error == pytest.approx(0.3)
    empty = reliability(torch.tensor([0.9]), torch.tensor([True]), bins=3)
    assert empty.accuracy.isnan().tolist() == [True, True, False]
    assert empty.maximum_error == empty.expected_error == pytest.approx(0.1)


def test_a_tie_is_not_right() -> None:
    found = calibration(torch.full((4, 2), 0.5), torch.tensor([0, 0, 1, 1]))
    assert (found.accuracy, found.confidence, found.ece) == (0.0, 0.5, 0.5)


def test_perfect_and_perfectly_wrong() -> None:
    labels = torch.tensor([0, 1, 2])
    right = calibration(torch.eye(3), labels)
    assert (right.ece, right.mce, right.classwise, right.brier, right.nll) == (0, 0, 0, 0, 0)
    wrong = calibration(torch.eye(3), labels.roll(1))
    assert (wrong.ece, wrong.mce, wrong.brier, wrong.nll) == (1, 1, 2, math.inf)
    said = json.loads(json.dumps(wrong.to_json(), allow_nan=False))
    assert said["nll"] is None and said["ece"] == 1.0 and said["bin_accuracy"][-1] == 0.0
    assert said["bin_accuracy"][0] is None
    names = ["accuracy", "confidence", "ece", "mce", "classwise", "brier", "nll"]
    assert list(wrong.flat("zs")) == [f"zs_{name}" for name in names]


def test_the_truth_is_calibrated() -> None:
    """Labels drawn from the probabilities themselves: only the noise of 40,000 rows is left."""
    logits, labels = drawn(40_000)
    found = calibration((logits / 2).softmax(1), labels)
    assert found.ece < 0.01  # a bin's error has a deviation of about 1/2 / sqrt(2,700) = 0.01, weighted and averaged
    assert calibration(logits.softmax(1), labels).ece > 0.05
    assert fit_temperature(logits, labels) == pytest.approx(2.0, rel=0.03)  # of which 40,000 labels tell about 1 %


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_the_temperature_is_the_one_that_a_search_finds(scale: float) -> None:
    logits, labels = drawn(seed=4)
    logits = logits * scale + 1000 * scale  # which no temperature should mind

    def loss(log_t: float) -> float:
        return F.cross_entropy(logits / math.exp(log_t), labels).item()

    centre = math.log(2 * scale)
    searched = np.asarray(fminbound(loss, centre - 3, centre + 3, xtol=1e-9)).item()
    ours = fit_temperature(logits, labels)
    assert math.log(ours) == pytest.approx(searched, abs=1e-4)  # where the loss is flat to 1e-9
    assert loss(math.log(ours)) <= loss(searched) + 1e-12


def test_a_temperature_in_closed_form() -> None:
    """Two classes d apart, a share q of labels the higher: T = d / log(q / (1 - q))."""
    for d, q in ((0.01, 0.9), (2.0, 0.6), (50.0, 0.99)):
        logits = torch.tensor([[d, 0.0]]).expand(100, 2)
        labels = (torch.arange(100) >= round(100 * q)).long()
        assert fit_temperature(logits, labels) == pytest.approx(d / math.log(q / (1 - q)), rel=1e-6)


def test_what_makes_no_sense_is_refused() -> None:
    p = torch.tensor([[0.5, 0.5], [0.2, 0.9]])
    with pytest.raises(ValueError, match=r"1 rows are not distributions.*first is 1, with sum 1\.1"):
        calibration(p, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="1 rows are not distributions"):
        calibration(torch.tensor([[math.nan, 1.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"1 labels are not among the 2 classes.*first is 2, of row 1"):
        calibration(p, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"not \(2, 2\) and \(3,\)"):
        fit_temperature(p, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"row 1 has a confidence of 1\.5"):
        reliability(torch.tensor([0.5, 1.5]), torch.tensor([True, True]))
    with pytest.raises(ValueError, match="bins is 0"):
        reliability(torch.tensor([0.5]), torch.tensor([True]), bins=0)
    with pytest.raises(ValueError, match="ever lower temperatures"):
        fit_temperature(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="ever higher temperatures"):
        fit_temperature(torch.eye(3), torch.tensor([1, 2, 0]))
    with pytest.raises(ValueError, match="row 0 has a logit of inf for class 1"):
        fit_temperature(torch.tensor([[0.0, math.inf], [1.0, 0.0]]), torch.tensor([0, 1]))


def test_half_precision_is_taken() -> None:
    logits, labels = drawn()
    p = logits.softmax(1)
    exact, half = calibration(p, labels), calibration(p.half(), labels)
    assert half.brier == pytest.approx(exact.brier, abs=1e-3)  # float16 keeps 11 bits
    assert np.isfinite(half.ece)
