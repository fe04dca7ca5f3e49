"""Tell pictures apart after a few labelled pictures of each class, several times drawn.

Two classifiers learn from the same draw of n pictures a class: the nearest mean (of unit vectors, made a unit vector
again: no option to choose), and logistic regression of a fixed strength. A class with fewer training pictures gives
all that it has.

Sources: Snell et al. 2017, arXiv 1703.05175 (nearest mean, here by cosine); Tian et al. 2020, arXiv 2003.11539
(logistic regression on frozen features).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Curve, Measured, Of
from diptych.evaluation.probing import Logistic, ProbeRows, linear_model, probe_rows

Method = Literal["nearest_mean", "logistic"]


def measure(
    bench: Bench,
    *,
    label: str = "label",
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    draws: int = 5,
    methods: Sequence[Method] = ("nearest_mean", "logistic"),
    strength: float = 1.0,
    seed: int = 0,
) -> Measured:
    """Mean accuracy over the draws, and its standard deviation, of each method and number of shots.

    The numbers are `nearest_mean@4` and `nearest_mean@4_spread`. Ties are lost.

    Args:
        bench: a table with labels and a training split; rows without a label are left out.
        label: the column of labels.
        shots: pictures of each class, each at least 1.
        draws: of pictures; at least 2, else there is no spread.
        methods: which classifiers; `logistic` needs scikit-learn.
        strength: of the logistic regression (C of `Logistic`).
        seed: of the draws.

    Raises:
        ValueError: if there is no such column or no training split, or an option makes no sense.
        ImportError: if scikit-learn is asked for and missing.
    """
    if not shots or min(shots) < 1 or draws < 2 or not methods:
        raise ValueError(
            f"shots {list(shots)}, draws {draws}, methods {list(methods)}: give shots from 1, 2 draws, 1 method or more"
        )
    if "logistic" in methods:
        linear_model()
    rows = probe_rows(bench, label)
    fit: dict[str, Callable[[ProbeRows, Tensor], Tensor]] = {
        "nearest_mean": _nearest_mean,
        "logistic": lambda rows, drawn: (
            Logistic(strength, len(rows.names)).fit(rows.train[drawn], rows.train_labels[drawn]).scores(rows.test)
        ),
    }
    measured = rows.test_labels >= 0
    numbers, chance, items, curves, of = {}, {}, {}, {}, {}
    for method in methods:
        for shot in sorted(set(shots)):
            right = []
            for draw in range(draws):
                drawn = draw_shots(rows.train_labels, shot, seed=(seed, shot, draw))
                scores = fit[method](rows, drawn)
                right.append(_first(scores, rows.test_labels.clamp(min=0)))
            name, each = f"{method}@{shot}", torch.stack(right).double()  # [draws, N]
            accuracies = each[:, measured].mean(1)
            numbers[name] = accuracies.mean().item()
            numbers[f"{name}_spread"] = accuracies.std().item()
            chance[name] = 1 / len(rows.names)
            items[name] = each.mean(0).masked_fill(~measured, torch.nan)
            of[name] = "image"
        points = [(float(shot), numbers[f"{method}@{shot}"]) for shot in sorted(set(shots))]
        curves[f"accuracy of {method.replace('_', ' ')}"] = Curve(points, "shots")
    kinds: dict[str, Of] = of
    few = torch.bincount(rows.train_labels, minlength=len(rows.names))
    notes = list(rows.notes)
    if lacking := int(((few > 0) & (few < max(shots))).sum()):
        notes.append(f"{lacking:,} classes have fewer than {max(shots)} training pictures and give all that they have")
    if left_out := int((~measured).sum()):
        notes.append(f"{left_out:,} images without a label are left out")
    return Measured(numbers, chance, items, kinds, curves, notes=notes)


def draw_shots(labels: Tensor, shots: int, *, seed: tuple[int, ...] | int) -> Tensor:
    """Rows of up to `shots` of each class, drawn without repetition."""
    random = np.random.default_rng(seed)
    rows = [random.permutation((labels == one).nonzero()[:, 0].numpy())[:shots] for one in labels.unique()]
    return torch.from_numpy(np.sort(np.concatenate(rows)))


def _nearest_mean(rows: ProbeRows, drawn: Tensor) -> Tensor:
    vectors, labels = rows.train[drawn], rows.train_labels[drawn]
    sums = torch.zeros(len(rows.names), vectors.shape[1], dtype=vectors.dtype).index_add_(0, labels, vectors)
    scores = rows.test @ F.normalize(sums, dim=-1).T
    seen = torch.bincount(labels, minlength=len(rows.names)) > 0
    return scores.masked_fill(~seen, -2.0)  # less than any cosine


def _first(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether each row's own class comes first, alone."""
    return (scores >= scores.gather(1, labels[:, None])).sum(1) == 1
