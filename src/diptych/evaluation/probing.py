"""What protocols that learn from labelled pictures share: the rows of both splits, and a logistic classifier."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.evaluation.bench import Bench


@dataclass(frozen=True)
class ProbeRows:
    """Labelled pictures to learn from, and pictures to be measured.

    Attributes:
        train, test: `[M, D]`, `[N, D]` unit vectors; of `train` only rows with a label.
        train_labels, test_labels: `[M]`, `[N]` int64 classes; -1 in `test_labels` where there is none.
        names: of the classes: those of both splits.
        notes: what should be said of them.
    """

    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor
    names: list[str]
    notes: list[str]


def probe_rows(bench: Bench, label: str) -> ProbeRows:
    """The rows to learn from and those to measure.

    Raises:
        ValueError: if there is no training split, no such column in either, or one class only.
    """
    own, learned = bench.labels(label), bench.train.labels(label)
    names = sorted({one for one in [*own, *learned] if one is not None})
    if len(names) < 2:
        raise ValueError(f"column {label!r} names one class only, {names[0]!r}: there is nothing to tell apart")
    place: dict[str | None, int] = {None: -1, **{name: i for i, name in enumerate(names)}}
    test_labels, all_labels = (torch.tensor([place[one] for one in column]) for column in (own, learned))
    good = (all_labels >= 0).nonzero()[:, 0]
    if len(set(learned) - {None}) < 2:
        raise ValueError(
            f"the training split's column {label!r} names fewer than two classes; there is nothing to learn"
        )
    unseen = sorted({one for one in own if one is not None} - set(learned))
    notes = [f"{len(good):,} labelled pictures of the training split were learned from"]
    if unseen:
        notes.append(f"{len(unseen):,} classes have no training picture, such as {unseen[0]!r}: theirs count as wrong")
    return ProbeRows(bench.train.image.dense[good], bench.image.dense, all_labels[good], test_labels, names, notes)


class Logistic:
    """Multinomial logistic regression on unit vectors, by scikit-learn.

        W, b = argmin  sum_i CE(W z_i + b, y_i) + |W|^2 / (2 C),   z_i = sqrt(D) x_i

    The factor gives coordinates of about unit size, for which strengths C of 1e-4 to 1e2 go from far too weak to
    hardly any regularisation, whatever the width D.

    Args:
        strength: C, above 0.
        classes: how many; those without a training row score less than all others.
        steps: of L-BFGS at most.

    Raises:
        ImportError: if scikit-learn is missing.
    """

    def __init__(self, strength: float, classes: int, *, steps: int = 1000) -> None:
        self._model: Any = linear_model().LogisticRegression(C=strength, max_iter=steps)
        self._classes = classes

    def fit(self, vectors: Tensor, labels: Tensor) -> Logistic:
        """Learn from `[M, D]` unit vectors and their `[M]` classes, of which there must be two or more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: the strengths tried need not all be
            self._model.fit(_scaled(vectors), labels.numpy())
        return self

    def scores(self, vectors: Tensor) -> Tensor:
        """`[N, C]` float64 of `[N, D]` unit vectors; higher is likelier."""
        said = np.asarray(self._model.decision_function(_scaled(vectors)))
        said = np.stack([-said, said], 1) if said.ndim == 1 else said  # two classes: one score
        out = np.full((len(vectors), self._classes), said.min() - 1.0)
        out[:, self._model.classes_] = said
        return torch.from_numpy(out)


def linear_model() -> Any:
    """scikit-learn's linear models.

    Raises:
        ImportError: says what to install.
    """
    try:
        from sklearn import linear_model
    except ImportError as error:
        raise ImportError("this task needs scikit-learn: pip install 'diptych[eval]'") from error
    return linear_model


def _scaled(vectors: Tensor) -> np.ndarray:
    return vectors.double().numpy() * math.sqrt(vectors.shape[1])
