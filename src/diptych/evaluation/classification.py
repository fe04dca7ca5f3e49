"""Tell pictures apart by the names of their classes alone: zero-shot classification.

A class is the mean of the unit vectors of its name in several sentences, made a unit vector again; a picture
belongs to the class whose vector it is nearest to:

    c_j = unit(mean over templates t of unit(text(t with name_j)));  prediction = argmax_j image . c_j

Use it where class names mean something to the text tower ("siamese cat", not "class 14"); train a linear
probe where they do not. Ties are lost: a picture as near to a wrong class as to its own is wrong.

Source: Radford et al. 2021, arXiv 2103.00020, section 3.1.4 (prompt ensembling in embedding space).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.evaluation import metrics

DEFAULT_TEMPLATES = (
    "{}",
    "a photo of {}.",
    "a picture that shows {}.",
    "{}, seen up close.",
    "{} in the distance.",
    "a drawing of {}.",
    "this is {}.",
)


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """What a classification measured.

    Attributes:
        accuracy: k -> share of images whose class is among the k nearest, 0 to 1.
        chance: k -> what guessing would get of that, min(k, C) / C.
        mean_per_class: mean over classes that have images of the share of their images that is right, 0 to 1.
        per_class: `[C]` float64, that share; NaN for a class without images.
        confused: `[M, 3]` int64, lines of (class, predicted class, images), most images first; the right ones too.
        images: N.
        classes: C.
        classes_without_images: how many of C no label names.
        rank: `[N]` int64, pessimistic rank of each image's class, 1 to C.
        predicted: `[N]` int64; never the image's class if another ties with it.
    """

    accuracy: dict[int, float]
    chance: dict[int, float]
    mean_per_class: float
    per_class: Tensor
    confused: Tensor
    images: int
    classes: int
    classes_without_images: int
    rank: Tensor
    predicted: Tensor

    def to_json(self) -> dict[str, Any]:
        """The numbers, as `json.dumps` takes them: all but what is said of single images."""
        return {
            "accuracy": {str(k): share for k, share in self.accuracy.items()},
            "chance": {str(k): share for k, share in self.chance.items()},
            "mean_per_class": self.mean_per_class,
            "per_class": [None if math.isnan(share) else share for share in self.per_class.tolist()],
            "confused": self.confused.tolist(),
            "images": self.images,
            "classes": self.classes,
            "classes_without_images": self.classes_without_images,
        }

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"zero_shot_top1": 0.63, ...}` for the prefix `"zero_shot"`."""
        top = {f"{prefix}_top{k}": share for k, share in self.accuracy.items()}
        return {**top, f"{prefix}_mean_per_class": self.mean_per_class}

    def confusion_matrix(self) -> Tensor:
        """`[C, C]` int64: images of class i (row) that were taken for class j (column); C * C * 8 bytes."""
        matrix = torch.zeros(self.classes, self.classes, dtype=torch.int64)
        label, predicted, count = self.confused.unbind(1)
        matrix[label, predicted] = count
        return matrix


def class_embeddings(
    embed_texts: Callable[[list[str]], Tensor],
    class_names: Sequence[str],
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    *,
    batch: int = 512,
) -> Tensor:
    """One unit vector for each class, from its name in every template.

    Args:
        embed_texts: n texts -> `[n, D]`, of any length.
        class_names: C distinct names.
        templates: one or more, each with `{}` where the name goes.
        batch: the most texts to embed at a time (but all templates of a class together).

    Returns:
        `[C, D]`, of unit length.

    Raises:
        ValueError: if there is no class or template, a template lacks `{}`, a name is there twice, or
            `embed_texts` returns another number of rows than it was given texts.

    Example:
        >>> letters = lambda texts: torch.tensor([[t.count("a"), t.count("b")] for t in texts]).float()
        >>> class_embeddings(letters, ["aa", "bb"], ["{}", "{}!"])
        tensor([[1., 0.],
                [0., 1.]])
    """
    _check_names(class_names, templates)
    step = max(1, batch // len(templates))
    classes = []
    for start in range(0, len(class_names), step):
        texts = [template.replace("{}", name) for name in class_names[start : start + step] for template in templates]
        vectors = embed_texts(texts)
        if vectors.dim() != 2 or len(vectors) != len(texts):
            raise ValueError(f"embed_texts got {len(texts)} texts and returned {tuple(vectors.shape)}, not [n, D]")
        units = F.normalize(vectors, dim=-1).unflatten(0, (-1, len(templates)))  # [classes, templates, D]
        classes.append(F.normalize(units.mean(1), dim=-1))
    return torch.cat(classes)


@torch.inference_mode()
def classify(
    images: Tensor, classes: Tensor, labels: Tensor, *, ks: Sequence[int] = (1, 5), chunk: int = 4096
) -> ClassificationReport:
    """Take each image for the class it is nearest to, and measure how often that is its own.

    Args:
        images: `[N, D]` of unit length (or any: an image's length does not change its ranking).
        classes: `[C, D]` of unit length, as from `class_embeddings`.
        labels: `[N]` integers, 0 to C-1.
        ks: the depths of accuracy; 1 is always measured.
        chunk: images scored at a time; it changes no number.

    Returns:
        A report; see its attributes.

    Raises:
        ValueError: if shapes do not fit, a label is out of range, `ks` make no sense, or a score is NaN
            (the message calls images queries, and classes gallery rows).

    Example:
        >>> report = classify(torch.eye(3), torch.eye(3), torch.tensor([0, 1, 1]), ks=(1,))
        >>> round(report.accuracy[1], 3), report.mean_per_class, round(report.chance[1], 3)
        (0.667, 0.75, 0.333)
    """
    _check_images(images, classes, labels, ks)
    labels = labels.long().to(images.device)
    ranks, guesses = [], []
    for start in range(0, len(images), chunk):
        scores, label = images[start : start + chunk] @ classes.T, labels[start : start + chunk, None]
        metrics.check_no_nan(scores, first_query=start)
        rank = (scores >= scores.gather(1, label)).sum(1)
        wrong = scores.scatter(1, label, -torch.inf).argmax(1)
        ranks.append(rank.cpu())
        guesses.append(torch.where(rank == 1, label[:, 0], wrong).cpu())
    return _report(torch.cat(ranks), torch.cat(guesses), labels.cpu(), classes=len(classes), ks=sorted({1, *ks}))


def _report(
    rank: Tensor, predicted: Tensor, labels: Tensor, *, classes: int, ks: Sequence[int]
) -> ClassificationReport:
    held = torch.bincount(labels, minlength=classes)
    right = torch.bincount(labels[rank == 1], minlength=classes)
    per_class = right.double() / held  # 0 / 0 is NaN: nothing to measure
    pair, count = torch.unique(labels * classes + predicted, return_counts=True)
    confused = torch.stack([pair // classes, pair % classes, count], 1)
    return ClassificationReport(
        accuracy={k: (rank <= k).double().mean().item() for k in ks},
        chance={k: min(k, classes) / classes for k in ks},
        mean_per_class=per_class.nanmean().item(),
        per_class=per_class,
        confused=confused[count.argsort(descending=True, stable=True)],
        images=len(labels),
        classes=classes,
        classes_without_images=int((held == 0).sum()),
        rank=rank,
        predicted=predicted,
    )


def _check_names(class_names: Sequence[str], templates: Sequence[str]) -> None:
    if not class_names or not templates:
        raise ValueError(
            f"found {len(class_names)} class names and {len(templates)} templates; give one or more of each"
        )
    lacking = [template for template in templates if "{}" not in template]
    if lacking:
        raise ValueError(f"a template needs {{}} where the class name goes; these have none: {lacking}")
    twice = [name for name, count in Counter(class_names).items() if count > 1]
    if twice:
        raise ValueError(f"class names must differ, for equal names have equal vectors; given more than once: {twice}")


def _check_images(images: Tensor, classes: Tensor, labels: Tensor, ks: Sequence[int]) -> None:
    if images.dim() != 2 or classes.dim() != 2 or images.shape[1] != classes.shape[1]:
        raise ValueError(
            f"expected images [N, D] and classes [C, D], not {tuple(images.shape)} and {tuple(classes.shape)}"
        )
    if not len(images) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"expected a label for each of 1 or more images; {len(images)} images, labels {tuple(labels.shape)}"
        )
    if ks and min(ks) < 1:
        raise ValueError(f"ks are {tuple(ks)}; each must be at least 1")
    outside = ((labels < 0) | (labels >= len(classes))).nonzero()[:, 0]
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{len(outside)} labels are not among the {len(classes)} classes (0 to {len(classes) - 1}); "
            f"the first is {int(labels[row])}, of image {row}"
        )
