"""Retrieval within one modality, done across two: is a picture found better by a picture, or by its own words?

    i2i_map_intra   mAP of pictures by the vector of a picture
    i2i_map_inter   the same, each query turned into pseudo-words of the text tower first (OTI)
    t2t_map_intra   mAP of texts by the vector of a text
    t2t_map_inter   the same, each query turned into pseudo-patches of the image tower first (OVI)

Right are pictures of the query's class, and texts of the query's picture; the query itself is not in its gallery. That
`inter` is better says that a model's vectors are trained across modalities and not within; it is no way to search (see
`diptych.evaluation.modality_inversion`).

Source: Mistretta et al. 2025 (arXiv 2502.04263), whose galleries are standard ones; steps are fewer here by default.

System: 208 (Cross the Gap)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Curve, Measured
from diptych.evaluation.metrics import average_precision, positive_ranks
from diptych.evaluation.modality_inversion import Descent, Inverted, to_image, to_text

OTI = Descent()
OVI = Descent(steps=300)


def measure(
    bench: Bench,
    *,
    label: str | None = "label",
    texts: bool = True,
    queries: int = 100,
    oti: Descent = OTI,
    ovi: Descent = OVI,
    seed: int = 0,
) -> Measured:
    """mAP within and across, and the gain, of pictures by class and of texts by picture.

    Args:
        bench: a table with labels, or with two texts or more of a picture.
        label: the column of classes; None to leave pictures out.
        texts: whether to measure texts.
        queries: how many of each, drawn by the seed.
        oti, ovi: how pseudo-words and pseudo-patches are sought.
        seed: of the queries.

    Raises:
        ValueError: if neither is measured, or no query has a right answer.
    """
    if label is None and not texts:
        raise ValueError("nothing to measure: give `label`, or let texts be measured")
    numbers: dict[str, float] = {}
    items: dict[str, Tensor] = {}
    curves: dict[str, Curve] = {}
    notes: list[str] = []
    random = np.random.default_rng(seed)
    if label is not None:
        names = bench.labels(label)
        known = {name: i for i, name in enumerate(sorted({one for one in names if one is not None}))}
        group = torch.tensor([known[one] if one is not None else -1 for one in names])
        chosen = _chosen(group, queries, random)
        found = to_text(bench.model, bench.image.dense[chosen], descent=oti)
        _add("i2i", bench, bench.image, chosen, group, found, numbers, items, curves)
        notes.append(f"pictures: {len(chosen)} queries among {len(bench):,}, cosine reached {_reached(found)}")
    if texts:
        group = torch.from_numpy(bench.pairs.keys.owner).long()
        chosen = _chosen(group, queries, random)
        found = to_image(bench.model, bench.text.dense[chosen], descent=ovi)
        _add("t2t", bench, bench.text, chosen, group, found, numbers, items, curves)
        notes.append(f"texts: {len(chosen)} queries among {len(bench.captions):,}, cosine reached {_reached(found)}")
    return Measured(numbers, items=items, curves=curves, notes=notes)


def _chosen(group: Tensor, queries: int, random: np.random.Generator) -> Tensor:
    """Some rows that have another of their group."""
    held = torch.bincount(group[group >= 0])
    able = ((group >= 0) & (held[group.clamp(min=0)] > 1)).nonzero()[:, 0].numpy()
    if not len(able):
        raise ValueError("no picture shares its class with another, or no picture has two texts: nothing can be found")
    return torch.from_numpy(np.sort(random.permutation(able)[:queries]))


def _add(
    name: str,
    bench: Bench,
    gallery: Embedding,
    chosen: Tensor,
    group: Tensor,
    found: Inverted,
    numbers: dict[str, float],
    items: dict[str, Tensor],
    curves: dict[str, Curve],
) -> None:
    right = group[chosen][:, None] == group[None]
    right[torch.arange(len(chosen)), chosen] = False
    for way, queries in (("intra", gallery[chosen]), ("inter", found.embedding)):
        scores = queries.dense @ gallery.dense.T
        scores[torch.arange(len(chosen)), chosen] = -torch.inf  # the query itself
        items[f"{name}_map_{way}"] = average_precision(positive_ranks(scores, right))
        numbers[f"{name}_map_{way}"] = float(items[f"{name}_map_{way}"].mean())
    numbers[f"{name}_gain"] = numbers[f"{name}_map_inter"] - numbers[f"{name}_map_intra"]
    curves[f"{name}: 1 - cosine"] = Curve(list(enumerate(found.losses)), "step")


def _reached(found: Inverted) -> str:
    return f"{float(found.cosine.mean()):.3f} on average, {float(found.cosine.min()):.3f} at least"
