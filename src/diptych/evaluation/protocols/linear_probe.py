"""Tell pictures apart by a linear classifier that learned from the labelled pictures of the training split.

Multinomial logistic regression on the dense vectors (those of the shared space, of unit length), regularised as
strongly as does best on a part of the training split that is held out for it, then learned from all of it. Use it where
class names mean nothing to the text tower, or to compare what image spaces hold.

Radford et al. read the features before the projection; here it is the vectors that search uses, so numbers are lower
than theirs where the projection loses something. Needs scikit-learn (`pip install 'diptych[eval]'`).

Source: Radford et al. 2021, arXiv 2103.00020, appendix A.3 (L-BFGS, up to 1,000 steps, strength by a sweep).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diptych.evaluation.bench import Bench
from diptych.evaluation.classified import measured_classes
from diptych.evaluation.measured import Measured
from diptych.evaluation.probing import Logistic, linear_model, probe_rows


def measure(
    bench: Bench,
    *,
    label: str = "label",
    strengths: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    held_out: float = 0.2,
    seed: int = 0,
) -> Measured:
    """Accuracy, accuracy at 5 and the mean over classes.

    Args:
        bench: a table with labels and a training split; rows without a label are left out.
        label: the column of labels.
        strengths: of the regularisation, tried one after the other (C of `Logistic`: large is weak).
        held_out: share of each class of the training split that the strength is chosen on, above 0 and below 1.
        seed: of that part.

    Raises:
        ValueError: if there is no such column or no training split, or an option makes no sense.
        ImportError: if scikit-learn is missing.
    """
    linear_model()
    if not strengths or min(strengths) <= 0 or not 0 < held_out < 1:
        raise ValueError(
            f"strengths are {list(strengths)} and held_out {held_out}; they must be above 0, held_out below 1"
        )
    rows = probe_rows(bench, label)
    strength, notes = float(strengths[0]), list(rows.notes)
    if len(strengths) > 1:
        strength = _chosen(rows.train, rows.train_labels, len(rows.names), strengths, held_out, seed)
        notes.append(f"strength C = {strength:g}, of {', '.join(f'{one:g}' for one in strengths)}")
    probe = Logistic(strength, len(rows.names)).fit(rows.train, rows.train_labels)
    return measured_classes(probe.scores(rows.test), rows.test_labels, rows.names, notes=notes)


def _chosen(
    vectors: Tensor, labels: Tensor, classes: int, strengths: Sequence[float], held_out: float, seed: int
) -> float:
    """The strength that does best on the part held out; of equals the strongest regularisation."""
    out = held_out_rows(labels, held_out, seed)
    if not out.any():
        raise ValueError(f"no class has two training pictures, so none can be held out of {len(labels)}")
    best, most = strengths[0], -1.0
    for strength in sorted(strengths):
        probe = Logistic(strength, classes).fit(vectors[~out], labels[~out])
        right = (probe.scores(vectors[out]).argmax(1) == labels[out]).double().mean().item()
        if right > most:
            best, most = strength, right
    return best


def held_out_rows(labels: Tensor, share: float, seed: int) -> Tensor:
    """`[M]` bool: about `share` of each class, at least one of it and never all (of a class of one: none)."""
    random, out = np.random.default_rng(seed), torch.zeros(len(labels), dtype=torch.bool)
    for one in labels.unique():
        rows = (labels == one).nonzero()[:, 0].numpy()
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        out[torch.from_numpy(random.permutation(rows)[:count])] = True
    return out
