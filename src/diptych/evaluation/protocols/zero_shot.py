"""Tell pictures apart by the names of their classes alone.

A class is the mean of the unit vectors of its name in several sentences; see `diptych.evaluation.classification`.
Use it where class names mean something to the text tower; `linear_probe` where they do not.

Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from diptych.evaluation.bench import Bench
from diptych.evaluation.classification import class_embeddings
from diptych.evaluation.classified import measured_classes
from diptych.evaluation.measured import Measured
from diptych.evaluation.prompts import class_names_of, named, templates_of


def measure(
    bench: Bench,
    *,
    label: str = "label",
    templates: str | list[str] = "photo",
    classes: str | list[str] | dict[str, str] | None = None,
) -> Measured:
    """Accuracy, accuracy at 5 and the mean over classes; ties are lost.

    Args:
        bench: a table with labels; rows without one are left out.
        label: the column of labels.
        templates: sentences with `{}`, the name of a set, or a file beside the table (`diptych.evaluation.prompts`).
        classes: names in the order of their numbers, label -> name, the name of a set, or a file; None for the labels.

    Raises:
        ValueError: if the table has no such column, a label has no name, or there is no such set or file.
    """
    given: Sequence[str] | Mapping[str, str] | None = None
    if classes is not None:
        given = class_names_of(classes, bench.file)
    names, numbers = named(bench.labels(label), given)
    sentences = templates_of(templates, bench.file)
    vectors = class_embeddings(lambda texts: bench.texts(texts).dense, names, sentences)
    return measured_classes(bench.image.dense @ vectors.T, torch.tensor(numbers), names)
