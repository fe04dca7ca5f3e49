"""A teacher that was asked beforehand: its embeddings lie in columns of the table, one vector a row.

Use it when the teacher is too slow to run in every epoch, or is not here at all: embed the table once, keep
the vectors as a column, and train any student on it. A text has the vector of its row, whichever of the
row's texts it is; an augmented image has that of the image as it was.

Source: Faghri et al. 2023 (dataset reinforcement), arXiv 2303.08983; for CLIP: MobileCLIP, Vasu et al. 2024,
arXiv 2311.17049.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.core.pairing import Pairing
from diptych.core.teacher import Teacher
from diptych.scoring import Dot


class Stored(Teacher):
    """Embeddings from the table.

    Args:
        views: view -> column with its embeddings, `[N, D]` numbers; they are scaled to unit length.
        scale: of its part `"dot"`, which scores them: 1 / temperature; CLIP models end their training at 100.
    """

    def __init__(self, views: Mapping[str, str], *, scale: float = 100.0) -> None:
        super().__init__()
        self.views, self.scale = dict(views), scale
        self.columns = tuple(sorted(set(views.values())))
        self.dot = Dot(scale, max_scale=scale).requires_grad_(False)

    def begin(self, model: Model) -> None:
        """Go where the student is."""
        self.to(next(model.parameters()).device)

    def forward(self, batch: Batch, views: frozenset[str]) -> Pairing:
        """The stored embeddings.

        Raises:
            ValueError: if a view has no column, the batch lacks it, or it does not hold finite vectors.
        """
        missing = sorted(views - set(self.views))
        if missing:
            raise ValueError(f"no column is named for the views {missing}; those named are {self.views}")
        return Pairing(
            {view: Embedding({"dense": self._vectors(batch, view)}) for view in sorted(views)},
            {view: slice(0, batch.size(view)) for view in views},
            {view: batch.keys[view] for view in views},
            {view: batch.items[view] for view in views},
            {"dot": self.dot},
        )

    def _vectors(self, batch: Batch, view: str) -> Tensor:
        name = f"{view}/{self.views[view]}"
        if name not in batch.extra:
            raise ValueError(f"the batch has no column {name!r}; it has {sorted(batch.extra)}")
        vectors = batch.extra[name]
        if vectors.dim() != 2 or len(vectors) != batch.size(view):
            raise ValueError(
                f"column {name!r} is {list(vectors.shape)}; expected [{batch.size(view)}, D], a vector a row"
            )
        whole = vectors.isfinite().all(1)
        if not whole.all():
            row = int(batch.items[view][torch.nonzero(~whole)[0, 0]])
            raise ValueError(f"column {name!r} has a vector that is not finite, in row {row}: embed that row again")
        return F.normalize(vectors.to(torch.get_default_dtype()), dim=-1)

    def kept_state(self) -> dict[str, Tensor]:
        """Nothing: the table has it all."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to do."""
