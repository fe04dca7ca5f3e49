"""A trained model whose scorer reads pairs, such as `Matching`, as the cross-encoder that teaches a faster one.

It scores of each anchor its positives and a few other rows, as `CrossEncoder` says. Like `Frozen` it reads the
student's inputs, so the student takes over its processors (`share_processors`); features of frozen towers are shared,
and where the teacher reads their tokens they are stored for it.

Source: Rao et al. 2022 (DCD), arXiv 2207.01426; Lei et al. 2022, arXiv 2203.05465.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.model import Model
from diptych.core.scorer import Scorer
from diptych.models.checkpoint import load
from diptych.models.opened import open_run
from diptych.training.teachers.cross_encoder import CrossEncoder
from diptych.training.teachers.frozen import Frozen


class Matcher(CrossEncoder):
    """Scores of chosen pairs by a model's own scorer.

    Args:
        model: the teacher.
        a: the anchors' view.
        b: the other view.
        matching: the teacher's part that scores pairs.
        others, positives: rows scored of each anchor, as in `CrossEncoder`.
        scorer: the student's part that says which rows are hard.

    Raises:
        ValueError: if the teacher has no such part.
    """

    def __init__(
        self,
        model: Model,
        a: str = "text",
        b: str = "image",
        *,
        matching: str = "matching",
        others: int = 15,
        positives: int = 5,
        scorer: str = "dot",
    ) -> None:
        part = model.parts[matching] if matching in model.parts else None  # noqa: SIM401 (ModuleDict has no get)
        if not isinstance(part, Scorer):
            raise ValueError(f"the teacher has no scorer {matching!r}; it has the parts {sorted(model.parts)}")
        frozen = Frozen(model)
        encoder = _PairEncoder(frozen, part, a, b)
        super().__init__(encoder, a, b, others=others, positives=positives, scorer=scorer)
        self.model, self.matching, self.frozen = model, matching, frozen
        self.tokens = frozen.tokens

    @classmethod
    def open(cls, folder: str | Path, *, matching: str = "matching", others: int = 15, positives: int = 5) -> Self:
        """The model of a run or of a checkpoint's folder, for texts as anchors.

        Raises:
            diptych.models.checkpoint.CheckpointError: if there is none, or it is damaged.
        """
        return cls(load(open_run(folder)), matching=matching, others=others, positives=positives)

    def begin(self, model: Model) -> None:
        """Compare processors and towers, as `Frozen` does, and go where the student is."""
        super().begin(model)
        self.frozen.begin(model)


class _PairEncoder(nn.Module):
    """Inputs of n rows of each view to the scores of the n pairs."""

    def __init__(self, frozen: Frozen, scorer: Scorer, a: str, b: str) -> None:
        super().__init__()
        self.frozen, self.scorer, self.a, self.b = frozen, scorer, a, b

    def forward(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
        n, device = len(next(iter(a.values()))), next(iter(a.values())).device
        nothing = {view: torch.full((n, 1), -1, device=device) for view in (self.a, self.b)}
        items = {view: torch.arange(n, device=device) for view in (self.a, self.b)}
        said = self.frozen(Batch({self.a: a, self.b: b}, nothing, items), frozenset({self.a, self.b}))
        return self.scorer.pairs(said.all[self.a], said.all[self.b])
