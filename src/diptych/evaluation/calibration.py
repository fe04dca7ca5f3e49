"""How far a classifier's confidence is from how often it is right, and the temperature that brings them together.

Of rows grouped by confidence into B bins of equal width, |accuracy - mean confidence| is a bin's error:

    ECE  = sum over bins of n_b / N * |acc_b - conf_b|;    MCE = max over bins that hold rows of |acc_b - conf_b|
    classwise = mean over classes j of the ECE of "is it j" with confidence p_j
    Brier = mean over rows of sum over classes of (p_j - [label is j])^2
    T = argmin of the mean of -log softmax(logits / T)[label]

Bins are (low, high], the first with 0 too. A prediction is right as `classification` says it: a class that ties with
another is not. ECE and MCE depend on the number of bins, and MCE on the emptiest of them: compare like with like.
Brier and the log-loss need no bins, and reward being right besides.

Use it where a probability is acted upon: a threshold, a refusal, an expected cost. A model's scale was trained for a
batch of its own size, so zero-shot probabilities say little before a temperature was fitted, on rows that are not
those measured.

Sources: Guo et al. 2017, arXiv 1706.04599 (ECE, MCE, temperature); Kull et al. 2019, arXiv 1910.12656 (classwise);
Brier 1950 (Monthly Weather Review 78).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reliability:
    """Rows grouped by confidence: what a reliability diagram shows.

    Attributes:
        edges: `[B + 1]` float64, 0 to 1; bin b is (edges[b], edges[b + 1]].
        count: `[B]` int64, rows in each bin.
        confidence: `[B]` float64, their mean confidence; NaN where there are none.
        accuracy: `[B]` float64, the share of them that is right; NaN where there are none.
    """

    edges: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def expected_error(self) -> float:
        """ECE, 0 to 1."""
        return ((self.accuracy - self.confidence).abs().nan_to_num() * self.count).sum().item() / int(self.count.sum())

    @property
    def maximum_error(self) -> float:
        """MCE, 0 to 1."""
        return (self.accuracy - self.confidence).abs().nan_to_num().max().item()


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well probabilities are calibrated.

    Attributes:
        accuracy: share of rows whose class is the most probable, ties lost, 0 to 1.
        confidence: mean probability of the most probable class, 1/C to 1. Above accuracy the model is overconfident.
        ece, mce, classwise: expected, maximum and classwise calibration error, 0 to 1.
        brier: 0 to 2.
        nll: mean negative log-likelihood of the label, nats, at least 0; infinite if a label got probability 0.
        rows, classes: N and C.
        reliability: the bins of `ece` and `mce`.
    """

    accuracy: float
    confidence: float
    ece: float
    mce: float
    classwise: float
    brier: float
    nll: float
    rows: int
    classes: int
    reliability: Reliability

    def to_json(self) -> dict[str, Any]:
        """The numbers and the bins, as `json.dumps` takes them; None for what an empty bin or probability 0 leaves."""
        bins = self.reliability
        line = {name: value if abs(value) < torch.inf else None for name, value in self.flat("").items()}
        return {
            **{name.removeprefix("_"): value for name, value in line.items()},
            "rows": self.rows,
            "classes": self.classes,
            "edges": bins.edges.tolist(),
            "count": bins.count.tolist(),
            "bin_confidence": [None if value != value else value for value in bins.confidence.tolist()],
            "bin_accuracy": [None if value != value else value for value in bins.accuracy.tolist()],
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"zero_shot_ece": 0.04, ...}` for the prefix `"zero_shot"`."""
        names = ("accuracy", "confidence", "ece", "mce", "classwise", "brier", "nll")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}


def reliability(confidence: Tensor, right: Tensor, *, bins: int = 15) -> Reliability:
    """Group predictions by their confidence.

    Args:
        confidence: `[N]`, 0 to 1.
        right: `[N]` bool.
        bins: B, at least 1. 15 is Guo et al.'s.

    Raises:
        ValueError: if there is no row, shapes differ, `bins` is below 1, or a confidence is not in 0 to 1.

    Example:
        >>> found = reliability(torch.tensor([0.9, 0.8, 0.2]), torch.tensor([True, False, False]), bins=2)
        >>> found.count.tolist(), round(found.expected_error, 4), round(found.maximum_error, 4)
        ([1, 2], 0.3, 0.35)
    """
    if confidence.dim() != 1 or confidence.shape != right.shape or not len(confidence):
        raise ValueError(
            f"expected confidence and right [N] of 1 or more rows, not {tuple(confidence.shape)} and {tuple(right.shape)}"
        )
    if bins < 1:
        raise ValueError(f"bins is {bins}; it must be at least 1")
    confidence = confidence.double()
    outside = ~((confidence >= 0) & (confidence <= 1))
    if outside.any():
        row = int(outside.nonzero()[0, 0])
        raise ValueError(f"row {row} has a confidence of {float(confidence[row])}; a probability lies between 0 and 1")
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
    held = torch.bucketize(confidence, edges[1:-1])
    count = torch.bincount(held, minlength=bins)
    return Reliability(
        edges=edges,
        count=count,
        confidence=torch.bincount(held, confidence, minlength=bins) / count,  # 0 / 0 is NaN: an empty bin says nothing
        accuracy=torch.bincount(held, right.double(), minlength=bins) / count,
    )


def calibration(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Calibration:
    """Measure how well probabilities are calibrated.

    Args:
        probabilities: `[N, C]`, each row non-negative with sum 1 (to 1e-3, for half precision).
        labels: `[N]` integers, 0 to C-1.
        bins: of the calibration errors, at least 1.

    Returns:
        See its attributes.

    Raises:
        ValueError: if shapes do not fit, a label is out of range, `bins` is below 1, or a row is no distribution.

    Example:
        >>> found = calibration(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0, 1]))
        >>> found.accuracy, round(found.ece, 4), round(found.brier, 4)
        (0.5, 0.35, 0.37)
    """
    labels = _check(probabilities, labels)
    sums = probabilities.double().sum(1)
    wrong = ~((probabilities >= 0).all(1) & ((sums - 1).abs() <= 1e-3))
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"{int(wrong.sum())} rows are not distributions over the {probabilities.shape[1]} classes; the first is "
            f"{row}, with sum {float(sums[row]):.6g}: give softmax(logits), not logits"
        )
    own = probabilities.gather(1, labels[:, None])
    confidence = probabilities.amax(1)
    right = (probabilities >= own).sum(1) == 1
    found = reliability(confidence.double().clamp(max=1), right, bins=bins)
    # A class at a time, so that no second [N, C] matrix is made.
    classes = list(enumerate(probabilities.unbind(1)))
    errors = [reliability(p.double().clamp(max=1), labels == j, bins=bins).expected_error for j, p in classes]
    brier = sum((p.double() - (labels == j).double()).square().sum().item() for j, p in classes) / len(labels)
    return Calibration(
        accuracy=right.double().mean().item(),
        confidence=confidence.double().mean().item(),
        ece=found.expected_error,
        mce=found.maximum_error,
        classwise=sum(errors) / len(errors),
        brier=brier,
        nll=-own.double().log().mean().item(),
        rows=len(labels),
        classes=probabilities.shape[1],
        reliability=found,
    )


@torch.no_grad()
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T that makes the labels most likely under `softmax(logits / T)`.

    The loss is convex in 1/T, so its slope, mean of (expected logit - the label's), has one root, which Newton's steps
    find, halving the bracket where one would leave it. Which class is most probable does not change.

    Args:
        logits: `[N, C]` of rows that are not those to be measured; cosines do as well.
        labels: `[N]` integers, 0 to C-1.

    Returns:
        T above 0: below 1 the logits said too little, above 1 too much.

    Raises:
        ValueError: if shapes do not fit, a label is out of range, a logit is not finite, or no T is best: every
            label has the highest logit (T would be 0), or they stand no higher than the mean (T would be infinite).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]] * 4)  # three of four are right, so 3/4 is the best of probabilities
        >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 6)  # 2 / log(3)
        1.820478
    """
    labels = _check(logits, labels)
    if not logits.isfinite().all():
        row, column = (~logits.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"row {row} has a logit of {float(logits[row, column])} for class {column}; all must be finite"
        )
    logits = logits.double()
    own = logits.gather(1, labels[:, None])[:, 0]
    if (own == logits.amax(1)).all():
        raise ValueError(
            "every label has the highest logit, so ever lower temperatures are better: fit on rows that the model "
            "sometimes gets wrong"
        )
    if (own - logits.mean(1)).mean() <= 0:
        raise ValueError(
            "the labels' logits are no higher than others on average, so ever higher temperatures are better: check "
            "that labels and columns of logits are in one order"
        )
    centred = logits - logits.mean(1, keepdim=True)
    low, high = 0.0, torch.inf
    beta = 1 / float(centred.square().mean().sqrt())  # of logits of deviation 1, a temperature of 1
    for _ in range(200):
        p = (beta * centred).softmax(1)
        expected = (p * logits).sum(1)
        slope = float((expected - own).mean())
        curvature = float(((p * logits.square()).sum(1) - expected.square()).mean())
        low, high = (beta, high) if slope < 0 else (low, beta)
        step = beta - slope / curvature if curvature > 0 else torch.inf
        if not low < step < high:
            step = 2 * beta if high == torch.inf else (low + high) / 2
        if abs(step - beta) <= 1e-12 * beta:
            break
        beta = step
    return 1 / beta


def _check(values: Tensor, labels: Tensor) -> Tensor:
    """`labels` as int64 beside `values`, if they fit `[N, C]` and `[N]`."""
    if values.dim() != 2 or not values.numel() or labels.shape != values.shape[:1]:
        raise ValueError(
            f"expected [N, C] and a label for each of 1 or more rows, not {tuple(values.shape)} and {tuple(labels.shape)}"
        )
    outside = ((labels < 0) | (labels >= values.shape[1])).nonzero()[:, 0]
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{len(outside)} labels are not among the {values.shape[1]} classes (0 to {values.shape[1] - 1}); "
            f"the first is {int(labels[row])}, of row {row}"
        )
    return labels.long().to(values.device)
