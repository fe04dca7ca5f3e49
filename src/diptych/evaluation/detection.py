"""Tell rows of known classes from rows of none: three scores of how well known a row is, and how well one separates.

    MCM        = max over classes of softmax(cosines / T)
    max logit  = max over classes of logits
    energy     = T log sum over classes of exp(logits / T), the negative of the free energy

    AUROC = P(known > unknown) + P(known = unknown) / 2
    AUPR  = sum over thresholds of (recall - recall before) * precision
    FPR95 = share of the unknown that pass the highest threshold that 95 % of the known pass

All scores are higher for what is known. Ties: AUROC counts them half; at a threshold all rows that equal it pass
together, in AUPR and FPR95, so a score that says the same of everything gets an AUROC of 1/2, an AUPR of the share of
rows that are positive, and an FPR95 of 1.

Use it where a picture may be of nothing that was named. MCM is for cosines of image and text, which lie so close
together that the softmax helps; its T of 1 is the authors'. AUPR depends on how many known and unknown there are, the
other two do not.

Sources: Ming et al. 2022, arXiv 2211.13445 (MCM); Hendrycks et al. 2022, arXiv 1911.11132 (max logit); Liu et al.
2020, arXiv 2010.03759 (energy); the measures, Hendrycks & Gimpel 2017, arXiv 1610.02136.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detection:
    """How well a score tells known rows from unknown ones.

    Attributes:
        auroc: 0 to 1; 1/2 is chance.
        aupr_known: area under precision and recall of finding the known, 0 to 1; chance is their share.
        aupr_unknown: of finding the unknown, by the negated score.
        fpr95: share of the unknown that are let in where 95 % of the known are, 0 to 1; lower is better.
        threshold: the score from which on `fpr95` lets in.
        known, unknown: how many rows.
    """

    auroc: float
    aupr_known: float
    aupr_unknown: float
    fpr95: float
    threshold: float
    known: int
    unknown: int

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"mcm_auroc": 0.91, ...}` for the prefix `"mcm"`."""
        names = ("auroc", "aupr_known", "aupr_unknown", "fpr95")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}


def maximum_concept_matching(cosines: Tensor, temperature: float = 1.0) -> Tensor:
    """MCM: the highest probability of a class, `[N]`, 1/C to 1.

    Args:
        cosines: `[N, C]` of images and class texts, -1 to 1.
        temperature: above 0. As it grows the order becomes that of the highest cosine above the mean of its row.

    Raises:
        ValueError: if the shape is not `[N, C]` or the temperature is not above 0.

    Example:
        >>> maximum_concept_matching(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
        tensor([0.5000, 0.7311])
    """
    _check_scores(cosines, temperature)
    return (cosines / temperature).softmax(1).amax(1)


def max_logit(logits: Tensor) -> Tensor:
    """The highest logit of each row of `[N, C]`: `[N]`.

    Raises:
        ValueError: if the shape is not `[N, C]`.
    """
    _check_scores(logits, 1.0)
    return logits.amax(1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The negative free energy of each row of `[N, C]`: `[N]`, from the highest logit to that plus T log C.

    Raises:
        ValueError: if the shape is not `[N, C]` or the temperature is not above 0.

    Example:
        >>> energy(torch.tensor([[0.0, 0.0]])).item() == torch.tensor(2.0).log().item()
        True
    """
    _check_scores(logits, temperature)
    return temperature * (logits / temperature).logsumexp(1)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a positive scores higher than a negative, a tie counting half.

    Args:
        positive: `[n]` scores of what should score high.
        negative: `[m]` scores of what should not; n and m may differ. Memory grows with n + m.

    Returns:
        0 to 1.

    Raises:
        ValueError: if either is empty, not a line, or holds a NaN.

    Example:
        >>> auroc(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1]))  # 3 of 4 pairs are in order, 1 ties
        0.875
    """
    positive, negative = _lines(positive, negative)
    ascending = negative.sort().values
    below = torch.searchsorted(ascending, positive).sum()  # exact: counts are integers
    not_above = torch.searchsorted(ascending, positive, right=True).sum()
    return (int(below) + int(not_above)) / (2 * len(positive) * len(negative))


def average_precision_of(positive: Tensor, negative: Tensor) -> float:
    """AUPR: the area under precision and recall as steps, rows of equal score passing together.

    Args:
        positive, negative: `[n]` and `[m]`, as `auroc` takes them.

    Returns:
        0 to 1; a random score gets about n / (n + m).

    Raises:
        ValueError: as `auroc`.

    Example:
        >>> average_precision_of(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1]))  # 1/2 * 1 + 1/2 * 2/3
        0.8333333333333333
    """
    positive, negative = _lines(positive, negative)
    thresholds, count = positive.unique(return_counts=True)
    true = len(positive) - torch.searchsorted(positive.sort().values, thresholds)
    false = len(negative) - torch.searchsorted(negative.sort().values, thresholds)
    return float((count * (true / (true + false).double())).sum() / len(positive))


def threshold_at(positive: Tensor, recall: float = 0.95) -> float:
    """The highest score that at least a share `recall` of `positive` `[n]` reaches.

    Raises:
        ValueError: if there is none, one is NaN, or `recall` is not above 0 and at most 1.

    Example:
        >>> threshold_at(torch.tensor([1, 2, 3, 4]), recall=0.75)
        2.0
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall is {recall}; it must be above 0 and at most 1")
    positive, _ = _lines(positive, positive)
    needed = math.ceil(recall * len(positive) - 1e-9)  # 0.95 * 20 is 19, whatever floats say
    return positive.sort(descending=True).values[max(needed, 1) - 1].item()


def false_positive_rate(positive: Tensor, negative: Tensor, recall: float = 0.95) -> float:
    """The share of `negative` `[m]` that reaches `threshold_at(positive, recall)`, 0 to 1; ties are let in.

    Raises:
        ValueError: as `auroc` and `threshold_at`.

    Example:
        >>> false_positive_rate(torch.tensor([0.3, 0.4]), torch.tensor([0.3, 0.1]))
        0.5
    """
    positive, negative = _lines(positive, negative)
    return (negative >= threshold_at(positive, recall)).double().mean().item()


def detect(known: Tensor, unknown: Tensor) -> Detection:
    """Measure how well a score tells `known` `[n]` rows from `unknown` `[m]` ones; higher is to mean known.

    Raises:
        ValueError: if either is empty, not a line, or holds a NaN.

    Example:
        >>> found = detect(torch.tensor([0.9, 0.8]), torch.tensor([0.2, 0.1, 0.0]))
        >>> found.auroc, found.fpr95
        (1.0, 0.0)
    """
    known, unknown = _lines(known, unknown)
    return Detection(
        auroc=auroc(known, unknown),
        aupr_known=average_precision_of(known, unknown),
        aupr_unknown=average_precision_of(-unknown, -known),
        fpr95=false_positive_rate(known, unknown),
        threshold=threshold_at(known),
        known=len(known),
        unknown=len(unknown),
    )


def _lines(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 on one device, if they can be compared."""
    for name, scores in (("positive", positive), ("negative", negative)):
        if scores.dim() != 1 or not len(scores):
            raise ValueError(f"expected 1 or more {name} scores in a line, not the shape {tuple(scores.shape)}")
        if scores.isnan().any():
            raise ValueError(
                f"{int(scores.isnan().sum())} of {len(scores)} {name} scores are NaN, the first of row "
                f"{int(scores.isnan().nonzero()[0, 0])}: a NaN cannot be ranked"
            )
    return positive.double(), negative.double().to(positive.device)


def _check_scores(scores: Tensor, temperature: float) -> None:
    if scores.dim() != 2 or not scores.shape[1]:
        raise ValueError(f"expected [N, C] of 1 or more classes, not {tuple(scores.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
