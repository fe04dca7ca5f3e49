"""A batch of views: tensors to encode, and the keys that say which of their rows match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Rows of one or more views, cut and moved together.

    Attributes:
        inputs: view -> name -> tensor led by `N_view` rows (pixels, token ids, cached features ...).
        keys: view -> `[N_view, K]` int64, padded with -1. Two rows match if they share ANY key.
        items: view -> `[N_view]` int64, the table row each came from: it says who is whose partner.
        extra: further tensors an objective asks for by name (weights, labels), each led by its view's rows.
        raw: what is not a tensor (texts, paths), for reports and rewriters; never needed to train.
    """

    inputs: Mapping[str, Mapping[str, Tensor]]
    keys: Mapping[str, Tensor]
    items: Mapping[str, Tensor]
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    raw: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for view, tensors in self.inputs.items():
            if view not in self.keys or view not in self.items:
                raise ValueError(f"view {view!r} has inputs but no keys or items; a Batch needs all three")
            n = len(self.items[view])
            if self.keys[view].shape[0] != n or self.keys[view].dim() != 2:
                raise ValueError(f"keys[{view!r}] is {tuple(self.keys[view].shape)}; expected [{n}, K]")
            for name, tensor in tensors.items():
                if tensor.shape[0] != n:
                    raise ValueError(f"inputs[{view!r}][{name!r}] leads with {tensor.shape[0]} rows; expected {n}")

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the views, in a fixed order."""
        return tuple(sorted(self.inputs))

    def size(self, view: str) -> int:
        """How many rows `view` has here."""
        return len(self.items[view])

    def cut(self, view: str, rows: slice | Tensor) -> dict[str, Tensor]:
        """The inputs of some rows of one view."""
        return {name: tensor[rows] for name, tensor in self.inputs[view].items()}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        inputs = {view: move(tensors) for view, tensors in self.inputs.items()}
        return Batch(inputs, move(self.keys), move(self.items), move(self.extra), self.raw)
