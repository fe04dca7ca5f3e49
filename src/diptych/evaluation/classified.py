"""What every protocol that tells classes apart hands back: accuracy, the worst and the best pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diptych.evaluation.classification import ClassificationReport, classify
from diptych.evaluation.measured import Curve, Found, Measured, Of, Shown

SHOWN = 6
"""Pictures of each kind."""
DEEPEST = 20
"""Of the curve of accuracy within the first k."""


def measured_classes(scores: Tensor, labels: Tensor, names: Sequence[str], *, notes: Sequence[str] = ()) -> Measured:
    """Accuracy of scores.

    Args:
        scores: `[N, C]` float, of each row of the table for each class; finite. Ties are lost.
        labels: `[N]` int64, the class; -1 where there is none: such rows are left out.
        names: of the C classes.
        notes: to hand on.

    Returns:
        `accuracy`, `accuracy@5` (where there are over five classes) and `mean_per_class`, beside chance.

    Raises:
        ValueError: if no row has a label.
    """
    rows = (labels >= 0).nonzero()[:, 0]
    ks = (1, 5) if len(names) > 5 else (1,)
    # Scores are images whose classes are the axes.
    report = classify(scores[rows], torch.eye(len(names), dtype=scores.dtype), labels[rows], ks=ks)
    numbers = {"accuracy": report.accuracy[1]}
    chance = {"accuracy": report.chance[1], "mean_per_class": report.chance[1]}
    if 5 in ks:
        numbers["accuracy@5"], chance["accuracy@5"] = report.accuracy[5], report.chance[5]
    numbers["mean_per_class"] = report.mean_per_class
    items = {"accuracy": _spread(rows, report.rank == 1, len(labels))}
    if 5 in ks:
        items["accuracy@5"] = _spread(rows, report.rank <= 5, len(labels))
    of: dict[str, Of] = dict.fromkeys(items, "image")
    deep = range(1, min(DEEPEST, len(names)) + 1)
    curves = {"accuracy within the first k": Curve([(k, (report.rank <= k).double().mean().item()) for k in deep], "k")}
    said = list(notes)
    if left_out := len(labels) - len(rows):
        said.append(f"{left_out:,} images without a label are left out")
    if report.classes_without_images:
        said.append(f"{report.classes_without_images:,} of {report.classes:,} classes have no image here")
    return Measured(numbers, chance, items, of, curves, _shown(report, scores, labels, rows, names), said)


def _spread(rows: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.full((size,), torch.nan, dtype=torch.float64).index_put_((rows,), values.double())


def _shown(
    report: ClassificationReport, scores: Tensor, labels: Tensor, rows: Tensor, names: Sequence[str]
) -> list[Shown]:
    """The pictures whose own class is furthest down, and the surest right ones."""
    own = scores[rows].gather(1, labels[rows, None])[:, 0]
    others = scores[rows].scatter(1, labels[rows, None], -torch.inf).amax(1) if len(names) > 1 else own
    order = (own - others).argsort(stable=True)  # the most wrong first
    wrong = order[report.rank[order] > 1][:SHOWN]
    right = order[report.rank[order] == 1].flip(0)[:SHOWN]
    shown = []
    for line in [*wrong.tolist(), *right.tolist()]:
        row = int(rows[line])
        top = scores[row].topk(min(3, len(names)))
        found = [
            Found(score, place == int(labels[row]), text=names[place])
            for score, place in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
        shown.append(Shown(found, names[int(labels[row])], row, int(report.rank[line])))
    return shown
