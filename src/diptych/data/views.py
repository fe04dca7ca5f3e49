"""Views of a table, ready to be cut into batches: rows in, tensors out, nothing per item in Python.

A view whose `key` is not None is known by it: what was learned of its rows can be kept under a hash of that key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from diptych.core.model import Processor
from diptych.data.features import FeatureStore
from diptych.data.store import hash_of


class View(Protocol):
    """One input of every row (or of every text) of a table."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The inputs of some rows, each tensor led by `len(rows)`."""
        ...


class Arrays:
    """A view whose rows lie in arrays: decoded pixels.

    Args:
        arrays: name -> values, each led by all rows.
        key: hash of all that the values depend on, if there is one.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], key: str | None = None) -> None:
        self.arrays, self.key = dict(arrays), key

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array[rows]) for name, array in self.arrays.items()}


class Selected:
    """Some rows of another view."""

    def __init__(self, view: View, rows: np.ndarray) -> None:
        self.view, self.rows = view, rows
        key = getattr(view, "key", None)
        self.key = None if key is None else hash_of(key, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.view.take(self.rows[rows])


class Joined:
    """Views of the same inputs, of consecutive blocks of rows, as one.

    Args:
        views: at least one; their tensors must be of one shape but for the rows.
        key: as in `Arrays`.
    """

    def __init__(self, views: Sequence[View], key: str | None = None) -> None:
        self.views, self.key = views, key
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
        fixed_length: tokens that every text is filled up to; None for the longest of the batch.
    """

    def __init__(self, rows: Sequence[np.ndarray], pad_id: int, fixed_length: int | None = None) -> None:
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat = np.concatenate([*rows, np.zeros(1, np.int32)]).astype(np.int32)
        self.pad_id, self.fixed_length = pad_id, fixed_length

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        lengths = self.lengths[rows]
        place = np.arange(self.fixed_length or lengths.max(initial=1))[None]
        mask = place < lengths[:, None]
        where = np.where(mask, self.starts[rows][:, None] + place, 0)
        ids = np.where(mask, self.flat[where], self.pad_id).astype(np.int64)
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}


class Processed:
    """A view made when it is asked for: for collections too large to keep decoded; `key` as in `Arrays`."""

    def __init__(self, values: Any, processor: Processor, key: str | None = None) -> None:
        self.values, self.processor, self.key = values, processor, key

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.processor([self.values[int(row)] for row in rows])


def is_made_on_demand(view: View) -> bool:
    """Whether taking rows costs work worth doing ahead, in threads: decoding, tokenizing."""
    if isinstance(view, Joined):
        return any(map(is_made_on_demand, view.views))
    return isinstance(view, Processed) or (isinstance(view, Selected) and is_made_on_demand(view.view))


class Features:
    """A view of the stored features of a frozen tower: `pooled` `[N, D]`, and tokens where they are stored too.

    Tokens come as `tokens` `[N, T, D']` with `mask` `[N, T]`, padded to the longest of the batch, and with `grid`
    `[N, G]` where they lie in space. All values are float32.

    Args:
        items: the names of the rows' items, `[rows]` S16; see `diptych.data.items`.
        pooled: has every item, one row each.
        tokens: likewise, a row a token.

    Attributes:
        lengths: tokens of each row; None where there are no tokens.

    Raises:
        ValueError: if a store lacks an item.
        diptych.data.features.DamagedFeatures: if a store's file is not as it was written.
    """

    def __init__(self, items: np.ndarray, pooled: FeatureStore, tokens: FeatureStore | None = None) -> None:
        self.items, self.pooled, self.tokens = items, pooled, tokens
        self._pooled_at = _places(pooled, items)
        self._tokens_at = self._pooled_at if tokens is None else _places(tokens, items)
        self.lengths = None if tokens is None else tokens.lengths(self._tokens_at)

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        out = {"pooled": self.pooled.take(self._pooled_at[rows])[0].flatten(1)}
        if self.tokens is None or self.lengths is None:
            return out
        out["tokens"], grids = self.tokens.take(self._tokens_at[rows])
        out["mask"] = torch.from_numpy(np.arange(out["tokens"].shape[1])[None] < self.lengths[rows][:, None])
        return {**out, "grid": torch.from_numpy(grids)} if grids.shape[1] else out


def _places(store: FeatureStore, items: np.ndarray) -> np.ndarray:
    places = store.find(items)
    if (places < 0).any():
        raise ValueError(f"{store.folder} has no features of {int((places < 0).sum()):,} of {len(items):,} items")
    store.check(places)
    return places
