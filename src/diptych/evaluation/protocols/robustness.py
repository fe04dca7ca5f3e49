"""How much of retrieval is left when pictures or texts get worse, in many ways and degrees.

    s         = mean of recall at k, text to image and image to text
    s_kind    = the same with all pictures (or all texts) made worse so, mean over degrees
    relative  = s_kind / s                  of each kind, and its mean over kinds (`relative_robustness`, `_text`)
    drop      = s - s_kind                  mean over kinds (`mean_corruption_drop`, `mean_perturbation_drop`)

A relative robustness of 1 loses nothing; a model that finds little to begin with can still have it, so the two stand
beside s. Kinds and degrees are those of `diptych.data.image_corruptions` and `diptych.data.text_perturbations`; read
there how they differ from ImageNet-C.

Sources: relative measures as in Taori et al. 2020 (arXiv 2007.00644) and Qiu et al. 2022 (arXiv 2212.08044: the
multimodal impact score is 1 - relative); corruptions as one of the factors of Tu et al. 2024 (arXiv 2410.01534).

System: 373 (Holistic CLIP robustness)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from diptych.core.embedding import Embedding
from diptych.data.image_corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from diptych.data.images import decode_image
from diptych.data.keys import make_keys
from diptych.data.text_perturbations import PERTURBATIONS, Perturbation, perturb
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Curve, Measured
from diptych.evaluation.retrieval import both_ways

CHUNK = 256
"""Pictures held at a time."""


def measure(
    bench: Bench,
    *,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    severities: Sequence[int] = (1, 3, 5),
    k: int = 1,
    most: int = 500,
    seed: int = 0,
) -> Measured:
    """Recall at k of what is clean, what is left of it under each kind, and the means.

    Args:
        bench: a table with texts.
        corruptions: of pictures; empty for none.
        perturbations: of texts; empty for none.
        severities: degrees, each 1 to 5.
        k: depth of recall.
        most: pictures measured; of more, so many are drawn by the seed.
        seed: of the draw and of all noise.

    Raises:
        ValueError: if there is no picture with a text, no kind or degree, or nothing is found of what is clean.
    """
    if not (corruptions or perturbations) or not severities or not set(severities) <= set(SEVERITIES):
        raise ValueError(f"nothing to measure: {corruptions=}, {perturbations=}, {severities=} (of 1 to 5)")
    asked = _Asked(bench, most, seed, k)
    clean = asked.recall(asked.image, asked.text)
    whole = sum(clean) / 2
    if not whole:
        raise ValueError(f"no text and no picture is found among the first {k}: there is nothing to lose; raise k")
    numbers = {f"t2i_recall@{k}": clean[0], f"i2t_recall@{k}": clean[1], "recall": whole}
    degrees = sorted(set(severities))
    of_images = {kind: {d: asked.corrupted(kind, d) for d in degrees} for kind in corruptions}
    of_texts = {kind: {d: asked.perturbed(kind, d) for d in degrees} for kind in perturbations}
    for found, total, drop in (
        (of_images, "relative_robustness", "mean_corruption_drop"),
        (of_texts, "relative_robustness_text", "mean_perturbation_drop"),
    ):
        left = {kind: sum(values.values()) / len(values) for kind, values in found.items()}
        numbers |= {f"relative_{kind}": value / whole for kind, value in left.items()}
        if left:
            mean = sum(left.values()) / len(left)
            numbers |= {total: mean / whole, drop: whole - mean}
    curves = {
        kind: Curve([(0, whole), *values.items()], "degree") for kind, values in [*of_images.items(), *of_texts.items()]
    }
    notes = [
        f"{len(asked.rows):,} pictures and {len(asked.captions):,} texts; degrees {', '.join(map(str, severities))}",
        "widths of blurs are those for 224 pixels, scaled by the shorter side",
    ]
    return Measured(numbers, curves=curves, notes=notes)


class _Asked:
    """The pictures and texts that are measured, and recall of them however changed."""

    def __init__(self, bench: Bench, most: int, seed: int, k: int) -> None:
        texts = bench.table["text"][:]
        rows = np.flatnonzero([bool(own) for own in texts])
        if not len(rows):
            raise ValueError("no picture has a text")
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        self.bench, self.rows, self.seed, self.k = bench, rows, seed, k
        self.captions = [text for row in rows for text in texts[row]]
        ids = bench.table["id"][:]
        keys = make_keys([ids[row] for row in rows], [texts[row] for row in rows])
        self.keys = torch.from_numpy(keys.image), torch.from_numpy(keys.text)
        self.image, self.text = bench.image[torch.from_numpy(rows)], bench.texts(self.captions)

    def recall(self, image: Embedding, text: Embedding) -> tuple[float, float]:
        """Text to image, and image to text; a text keeps its own picture whatever it has become."""
        reports = both_ways(image, text, *self.keys, self.bench.scorer, ks=[self.k])
        return reports["text_to_image"].recall[self.k], reports["image_to_text"].recall[self.k]

    def corrupted(self, kind: Corruption, severity: int) -> float:
        """The mean recall with worse pictures."""
        return sum(self.recall(Embedding.cat(list(self._worse(kind, severity))), self.text)) / 2

    def perturbed(self, kind: Perturbation, severity: int) -> float:
        """The mean recall with worse texts."""
        random = np.random.default_rng((self.seed, PERTURBATIONS.index(kind), severity))
        return sum(self.recall(self.image, self.bench.texts(perturb(self.captions, kind, severity, random=random)))) / 2

    def _worse(self, kind: Corruption, severity: int) -> Iterator[Embedding]:
        for start in range(0, len(self.rows), CHUNK):
            made = []
            for row in self.rows[start : start + CHUNK].tolist():
                random = np.random.default_rng((self.seed, CORRUPTIONS.index(kind), severity, row))
                picture = decode_image(self.bench.table[row]["image"], mode="RGB")
                made.append(corrupt(picture, kind, severity, random=random))
            yield self.bench.images(made)
