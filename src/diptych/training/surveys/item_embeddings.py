"""The embedding of every row, as the model has it now: what hard negatives are mined from, and clusters made of.

A row's text embedding is the mean of those of its texts, scaled to unit length. Cost: one forward of the view's
tower for every row (for every text), without gradient, and 4 N D bytes for N rows of D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from diptych.models.embed import by_length
from diptych.training.survey import ROWS_AT_A_TIME, Asked


@dataclass(frozen=True)
class ItemEmbeddings:
    """A column of embeddings, `[rows, D]` float32.

    Attributes:
        every: epochs from one run to the next.
        view: whose embeddings.
        space: which of the view's vectors.
        column: the name of the column.

    Raises:
        ValueError: when it is called, if the table lacks the view or the model the space.
    """

    every: int = 1
    view: Literal["image", "text"] = "image"
    space: str = "dense"
    column: str = "embedding"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it counts epochs, from 1")
        if self.view not in ("image", "text"):
            raise ValueError(f"view is {self.view!r}; a table has the views 'image' and 'text'")

    @property
    def columns(self) -> tuple[str, ...]:
        """Its one column."""
        return (self.column,)

    def __call__(self, asked: Asked) -> dict[str, np.ndarray]:
        if self.view not in asked.pairs.views:
            raise ValueError(f"the table has no view {self.view!r}; it has {sorted(asked.pairs.views)}")
        rows = asked.pairs.views[self.view]
        owner = torch.from_numpy(asked.pairs.keys.owner) if self.view == "text" else torch.arange(len(rows))
        sums = torch.zeros(0, 0)
        device = next(asked.model.parameters()).device
        order = by_length(rows)
        for cut in np.array_split(order, -(-len(order) // ROWS_AT_A_TIME)):
            inputs = {name: tensor.to(device) for name, tensor in rows.take(cut).items()}
            with torch.no_grad(), asked.autocast():
                vectors = asked.model.encode(self.view, inputs).vectors
            if self.space not in vectors:
                raise ValueError(f"view {self.view!r} has no space {self.space!r}; it has {sorted(vectors)}")
            vector = vectors[self.space].float().cpu()
            if not len(sums):
                sums = torch.zeros(len(asked.pairs), vector.shape[1])
            sums.index_add_(0, owner[torch.from_numpy(cut)], vector)
        return {self.column: (F.normalize(sums, dim=1) if self.view == "text" else sums).numpy()}
