"""Distillation of vectors: each row's vector should be where the teacher's is.

    loss = sum_i  1/D sum_d (v(i, d) - v'(i, d))^2

with unit vectors v of the student and v' of the teacher, of width D. The strongest single term of CLIP-KD, and
the simplest: no row is compared with another, so it works in any batch, and with one view alone (a text tower
in another language, an image tower for another kind of picture). The student is then bound to the teacher's
space: widths must agree, or a part maps the student's vectors to it. D in the denominator makes the numbers
small: CLIP-KD gives each view the weight 2000.

Source: Yang et al. 2023 (CLIP-KD, feature distillation), arXiv 2307.12732.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding, Features
from diptych.core.objective import Example, Needs, Objective, example_keys
from diptych.core.pairing import Pairing
from diptych.encoders.heads import Projection


class FeatureDistillation(Objective):
    """Mean squared error between the student's and the teacher's dense vectors of one view.

    Args:
        view: of which.
        projection: part that maps the student's vectors to the teacher's space, such as
            `diptych.encoders.Projection(width, teacher's width)`, called with `Features` as a head is; a module within
            a part has a dotted name, `"compatible.projection"`; None for none.

    The mean is over the rows of the view.
    """

    def __init__(self, view: str = "image", *, projection: str | None = None) -> None:
        super().__init__()
        self.view, self.projection = view, projection
        self.name = f"feature_distillation/{view}"

    @property
    def needs(self) -> Needs:
        views = frozenset({self.view})
        return Needs(
            views=views, teacher=views, parts=frozenset({self.projection.partition(".")[0]} if self.projection else ())
        )

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.view)))

    def forward(self, pairing: Pairing) -> Tensor:
        ours, theirs = pairing.mine(self.view).dense, pairing.taught().mine(self.view).dense
        if self.projection:
            part, _, within = self.projection.partition(".")
            ours = pairing.parts[part].get_submodule(within)(Features(ours))
        if ours.shape[1] != theirs.shape[1]:
            raise ValueError(
                f"the student's vectors of view {self.view!r} have width {ours.shape[1]} and the teacher's "
                f"{theirs.shape[1]}: give the student the teacher's width, or name a part as `projection`"
            )
        return (ours - theirs).square().mean(1).sum()

    @classmethod
    def example(cls) -> Example:
        keys, items = ({"text": of["text"]} for of in example_keys())
        generator, rows = torch.Generator().manual_seed(0), {"text": slice(0, len(items["text"]))}

        def embeddings(width: int) -> dict[str, Embedding]:
            vectors = torch.randn(len(items["text"]), width, generator=generator)
            return {"text": Embedding({"dense": F.normalize(vectors, dim=-1)})}

        parts = {"wider": Projection(8, 12)}
        teacher = Pairing(embeddings(12), rows, keys, items, {})
        return Example(cls("text", projection="wider"), parts, embeddings(8), keys, items, teacher=teacher)
