"""Measure a model on a table: retrieval both ways, and zero-shot classification where there are labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.core.scorer import Scorer
from diptych.data.bad_rows import BadRows
from diptych.data.pairs import Pairs, prepare, tokenize
from diptych.evaluation.classification import DEFAULT_TEMPLATES, ClassificationReport, class_embeddings, classify
from diptych.evaluation.report import Example, Hit
from diptych.evaluation.retrieval import RetrievalReport, both_ways
from diptych.models.embed import embed, with_frozen_features


@dataclass(frozen=True)
class Evaluated:
    """What was measured, and the embeddings it was measured on.

    Attributes:
        pairs: the rows.
        image, text: their embeddings, a row a picture and a row a text.
        retrieval: `"text_to_image"` and `"image_to_text"`.
        classification: where labels were asked for.
    """

    pairs: Pairs
    image: Embedding
    text: Embedding
    retrieval: dict[str, RetrievalReport]
    classification: ClassificationReport | None = None

    def flat(self) -> dict[str, float]:
        """Every number under one name: `t2i_recall@10`, `i2t_...`, `zero_shot_...`."""
        out = {**self.retrieval["text_to_image"].flat("t2i"), **self.retrieval["image_to_text"].flat("i2t")}
        return out | (self.classification.flat("zero_shot") if self.classification else {})


def evaluate(
    model: Model,
    rows: Dataset,
    *,
    scorer: str = "dot",
    ks: Sequence[int] = (1, 5, 10),
    label: str | None = None,
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    bad: BadRows | None = None,
    images: Callable[[int, int], None] | None = None,
    rows_done: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Embed the rows once and measure.

    Args:
        model: in eval mode.
        rows: a table as `open_table` gives it; all of its images are the gallery, all of its texts too.
        scorer: the part that ranks.
        ks: depths of recall.
        label: a column of class names to classify images into, rows without one left out; None for no classification.
        templates: prompts that a class name is put into, averaged.
        bad: told of images that cannot be decoded.
        images: told how many images are decoded.
        rows_done: told (view, rows embedded, rows in all).

    Raises:
        ValueError: if no row is usable, or there is no column `label`.
    """
    if label is not None and label not in rows.column_names:
        raise ValueError(f"no column {label!r} to classify by; the table has {rows.column_names}")
    pairs = prepare(rows, model.processors, bad=bad, progress=images)
    pairs = with_frozen_features(model, pairs, progress=rows_done)
    image = embed(model, "image", pairs.views["image"], progress=rows_done)
    text = embed(model, "text", pairs.views["text"], progress=rows_done)
    part = model.parts[scorer]
    assert isinstance(part, Scorer)
    keys = torch.from_numpy(pairs.keys.image), torch.from_numpy(pairs.keys.text)
    retrieval = both_ways(image, text, *keys, part, ks=ks)
    classification = None
    if label is not None:
        labels = labels_of(pairs.table, label)
        good = np.flatnonzero([own is not None for own in labels])
        if not len(good):
            raise ValueError(f"column {label!r} names no class in any of the {len(labels):,} rows")
        names, numbers = np.unique([str(labels[row]) for row in good], return_inverse=True)
        classes = class_embeddings(lambda texts: embed_texts(model, texts), [str(n) for n in names], templates)
        classification = classify(image.dense[torch.from_numpy(good)], classes, torch.from_numpy(numbers))
    return Evaluated(pairs, image, text, retrieval, classification)


def mean_recall(rows: Dataset, *, scorer: str = "dot") -> Callable[[Model], dict[str, float]]:
    """A measure to choose the best epoch by: recall on `rows` and, as `"score"`, its mean at 1, 5, 10 both ways."""

    def measure(model: Model) -> dict[str, float]:
        numbers = evaluate(model, rows, scorer=scorer).flat()
        recalls = {name: value for name, value in numbers.items() if "_recall@" in name}
        return {**recalls, "score": sum(recalls.values()) / len(recalls)}

    return measure


def labels_of(table: Dataset, column: str) -> list[str | None]:
    """The class name of each row; None where it has none. Numbered labels are given by their names."""
    feature = table.features[column]
    named = isinstance(feature, ClassLabel)
    values = [feature.int2str(v) if named and v is not None else v for v in table[column][:]]
    return [None if value is None or not str(value).strip() else str(value) for value in values]


def embed_texts(model: Model, texts: Sequence[str]) -> Tensor:
    """Unit vectors `[n, D]` of some texts."""
    view, _ = tokenize(list(texts), model.processors["text"])
    return embed(model, "text", view).dense


def gallery(
    done: Evaluated, *, hits: int = 8, misses: int = 8, top: int = 5, seed: int = 0, picture: Callable[[Any], bytes]
) -> list[Example]:
    """Examples of text queries: some whose first hit is right, some whose right image is not among the first.

    Args:
        done: what was measured.
        hits, misses: how many of each, drawn at random.
        top: images shown of each.
        seed: of the draw.
        picture: makes PNG or JPEG bytes of a table's image value.
    """
    report = done.retrieval["text_to_image"]
    random = np.random.default_rng(seed)
    rank = report.best_rank.numpy()
    right, wrong = np.flatnonzero(rank == 1), np.flatnonzero(rank > top)
    chosen = [*random.permutation(right)[:hits], *random.permutation(wrong)[:misses]]
    return [_example(done, int(query), top, picture) for query in chosen]


def _example(done: Evaluated, query: int, top: int, picture: Callable[[Any], bytes]) -> Example:
    pairs, report = done.pairs, done.retrieval["text_to_image"]
    owner = int(pairs.keys.owner[query])
    text = pairs.table[owner]["text"][query - int(pairs.keys.offsets[owner])]
    mine = set(pairs.keys.text[query].tolist())
    found = []
    for row, score in zip(report.top[query, :top].tolist(), report.top_scores[query, :top].tolist(), strict=True):
        item = pairs.table[row]
        is_right = bool(mine & set(pairs.keys.image[row].tolist()) - {-1})
        found.append(Hit(score, is_right, picture(item["image"]), item["text"][0]))
    return Example(found, text=text, rank=int(report.best_rank[query]))
