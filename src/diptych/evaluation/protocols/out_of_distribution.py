"""Notice pictures that are of none of the named classes.

The classes are dealt into folds; each fold in turn is left out of the names, and its pictures are the strangers. A
picture's score is how well the best of the names fits:

    MCM        max_c softmax over c of (cos(x, c) / temperature)
    cosine     max_c cos(x, c)

AUROC is the share of pairs (known, stranger) of which the known one scores higher, a tie counting half; FPR95 the share
of strangers taken for known ones where 95 % of the known are taken so. Means over the folds, and standard deviations.

Source: Ming et al. 2022, arXiv 2211.13445 (Maximum Concept Matching; temperature 1).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diptych.evaluation.bench import Bench
from diptych.evaluation.classification import class_embeddings
from diptych.evaluation.detection import auroc, false_positive_rate, maximum_concept_matching
from diptych.evaluation.measured import Found, Measured, Shown
from diptych.evaluation.prompts import class_names_of, named, templates_of

SHOWN = 6
"""Pictures of each kind."""


def measure(
    bench: Bench,
    *,
    label: str = "label",
    templates: str | list[str] = "photo",
    classes: str | list[str] | dict[str, str] | None = None,
    folds: int = 4,
    temperature: float = 1.0,
    seed: int = 0,
) -> Measured:
    """AUROC and FPR at 95 % of either score.

    Args:
        bench: a table with labels, of four classes or more; rows without a label are left out.
        label: the column of labels.
        templates, classes: as in `zero_shot`.
        folds: into how many the classes are dealt, at least 2 and at most half of them.
        temperature: of MCM, above 0.
        seed: of the dealing.

    Raises:
        ValueError: as `zero_shot` does, or if an option makes no sense or there are too few classes.
    """
    given = None if classes is None else class_names_of(classes, bench.file)
    names, numbers = named(bench.labels(label), given)
    labels = torch.tensor(numbers)
    present = labels[labels >= 0].unique()
    if temperature <= 0 or folds < 2 or len(present) < 2 * folds:
        raise ValueError(
            f"folds is {folds} and temperature {temperature}; there must be 2 folds at least, two classes with "
            f"pictures for each (there are {len(present)}), and a temperature above 0"
        )
    rows = (labels >= 0).nonzero()[:, 0]
    sentences = templates_of(templates, bench.file)
    vectors = class_embeddings(lambda texts: bench.texts(texts).dense, names, sentences)
    cosines = bench.image.dense[rows] @ vectors.T
    dealt = torch.from_numpy(np.random.default_rng(seed).permutation(present.numpy()))
    kept: dict[str, list[float]] = {name: [] for name in ("mcm_auroc", "mcm_fpr95", "cosine_auroc", "cosine_fpr95")}
    shown: list[Shown] = []
    for fold in range(folds):
        out = dealt[fold::folds]
        strange = torch.isin(labels[rows], out)
        known = torch.ones(len(names), dtype=torch.bool)
        known[out] = False
        scores = {
            "mcm": maximum_concept_matching(cosines[:, known].double(), temperature),
            "cosine": cosines[:, known].amax(1).double(),
        }
        for name, score in scores.items():
            kept[f"{name}_auroc"].append(auroc(score[~strange], score[strange]))
            kept[f"{name}_fpr95"].append(false_positive_rate(score[~strange], score[strange]))
        if fold == 0:
            shown = _shown(scores["mcm"], strange, rows, labels, names)
    found = {name: float(np.mean(values)) for name, values in kept.items()}
    found |= {f"{name}_spread": float(np.std(values, ddof=1)) for name, values in kept.items()}
    chance = {name: 0.5 if name.endswith("auroc") else 0.95 for name in kept}
    notes = [f"{folds} folds of {len(present)} classes, each in turn left out of the names; examples are of the first"]
    if left_out := len(labels) - len(rows):
        notes.append(f"{left_out:,} images without a label are left out")
    return Measured(found, chance, shown=shown, notes=notes)


def _shown(score: Tensor, strange: Tensor, rows: Tensor, labels: Tensor, names: list[str]) -> list[Shown]:
    """The strangers that look most known, and the known that look strangest."""
    order = score.argsort(descending=True, stable=True)
    wrong = order[strange[order]][:SHOWN].tolist()
    missed = order.flip(0)
    missed = missed[~strange[missed]][:SHOWN].tolist()
    out = []
    for line, said in [*((i, "taken for known") for i in wrong), *((i, "taken for strange") for i in missed)]:
        row = int(rows[line])
        out.append(Shown([Found(float(score[line]), False, text=said)], names[int(labels[row])], row))
    return out
