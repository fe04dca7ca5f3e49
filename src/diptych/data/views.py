"""Views of a table, ready to be cut into batches: rows in, tensors out, nothing per item in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from diptych.core.model import Processor


class View(Protocol):
    """One input of every row (or of every text) of a table."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The inputs of some rows, each tensor led by `len(rows)`."""
        ...


class Arrays:
    """A view whose rows lie in arrays: decoded pixels, or the features of a frozen tower."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = dict(arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}


class Selected:
    """Some rows of another view."""

    def __init__(self, view: View, rows: np.ndarray) -> None:
        self.view, self.rows = view, rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.view.take(self.rows[rows])


class Joined:
    """Views of the same inputs, of consecutive blocks of rows, as one.

    Args:
        views: at least one; their tensors must be of one shape but for the rows.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self.views = views
        self.ends = np.cumsum([len(view) for view in views])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        block = np.searchsorted(self.ends, rows, side="right")
        out: dict[str, Tensor] = {}
        for number in np.unique(block) if len(rows) else [0]:
            at = np.flatnonzero(block == number)
            first = int(self.ends[number]) - len(self.views[number])
            for name, part in self.views[number].take(rows[at] - first).items():
                out.setdefault(name, part.new_empty((len(rows), *part.shape[1:])))[torch.from_numpy(at)] = part
        return out


class Ragged:
    """A view of token sequences of any length, kept end to end.

    Args:
        rows: the token ids of each text.
        pad_id: what fills up the shorter texts of a batch; those places have mask False.
    """

    def __init__(self, rows: Sequence[np.ndarray], pad_id: int) -> None:
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat = np.concatenate([*rows, np.zeros(1, np.int32)]).astype(np.int32)
        self.pad_id = pad_id

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        lengths = self.lengths[rows]
        place = np.arange(lengths.max(initial=1))[None]
        mask = place < lengths[:, None]
        where = np.where(mask, self.starts[rows][:, None] + place, 0)
        ids = np.where(mask, self.flat[where], self.pad_id).astype(np.int64)
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}


class Processed:
    """A view made when it is asked for: for collections too large to keep decoded."""

    def __init__(self, values: Any, processor: Processor) -> None:
        self.values, self.processor = values, processor

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.processor([self.values[int(row)] for row in rows])
