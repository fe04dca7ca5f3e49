"""Tell pictures apart by the labels of the training pictures nearest to them.

    votes_c(x) = sum over the k training pictures i nearest to x with label c of exp(cos(x, x_i) / temperature)

It needs no text tower and learns nothing, so it shows how well the image space itself is ordered. The class with the
most votes wins; a tie is lost.

Source: Wu et al. 2018, arXiv 1805.01978, section 3.4 (weighted k nearest neighbours, temperature 0.07); k is 20 as in
Caron et al. 2021, arXiv 2104.14294.
"""

from __future__ import annotations

import torch

from diptych.evaluation.bench import Bench
from diptych.evaluation.classified import measured_classes
from diptych.evaluation.measured import Measured
from diptych.evaluation.probing import probe_rows

CHUNK = 1024


def measure(bench: Bench, *, label: str = "label", k: int = 20, temperature: float = 0.07) -> Measured:
    """Accuracy, accuracy at 5 and the mean over classes.

    Args:
        bench: a table with labels and a training split; rows without a label are left out.
        label: the column of labels.
        k: neighbours, at least 1; all training pictures if there are fewer.
        temperature: above 0; small ones let the nearest decide.

    Raises:
        ValueError: if there is no such column or no training split, or an option makes no sense.
    """
    if k < 1 or temperature <= 0:
        raise ValueError(f"k is {k} and temperature {temperature}; k must be at least 1, temperature above 0")
    rows = probe_rows(bench, label)
    votes = []
    for start in range(0, len(rows.test), CHUNK):
        near = (rows.test[start : start + CHUNK] @ rows.train.T).topk(min(k, len(rows.train)), dim=1)
        weight = ((near.values - near.values[:, :1]) / temperature).exp()  # of the nearest: 1; the order is the same
        empty = torch.zeros(len(weight), len(rows.names), dtype=weight.dtype)
        votes.append(empty.scatter_add_(1, rows.train_labels[near.indices], weight))
    return measured_classes(torch.cat(votes), rows.test_labels, rows.names, notes=rows.notes)
