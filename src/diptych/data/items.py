"""Items by name: a hash of exactly what a tower reads of a row, whichever collection and batch the row is in.

Padding is no part of an item: of tensors that a mask covers, only what comes before its last True is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from torch import Tensor

from diptych.data.store import Chunk, hash_of, stored
from diptych.data.views import View

CHUNK = 256


def item_hashes(rows: View, *, progress: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
    """The names of a view's rows, `[N]` of 16 bytes each (dtype `S16`).

    A view with a `key` (see `diptych.data.views.Arrays`) is hashed once: its names are remembered on disk.

    Args:
        rows: gives the inputs.
        progress: told (rows done, rows in all) while it hashes.
    """

    def fill() -> Iterator[Chunk]:
        for start in range(0, len(rows), CHUNK):
            cut = np.arange(start, min(start + CHUNK, len(rows)))
            yield cut, {"items": hashes_of(rows.take(cut)).view(np.uint8).reshape(-1, 16)}
            progress(int(cut[-1]) + 1, len(rows))

    key = getattr(rows, "key", None)
    if key is None:
        parts = [values["items"] for _, values in fill()]
        items = np.concatenate(parts) if parts else np.zeros((0, 16), np.uint8)
    else:
        items = stored(hash_of("items", key), len(rows), {"items": ((16,), "uint8")}, fill, lambda: None).arrays[
            "items"
        ]
    return items.reshape(-1).view("S16")


def hashes_of(inputs: Mapping[str, Tensor]) -> np.ndarray:
    """The names of a batch's rows: of each, the hash of its tensors' names, types, shapes and bytes.

    Args:
        inputs: name -> tensor led by N rows; `"mask"` `[N, T]`, if there is one, says what is padding of those led
            by `[N, T]`.

    Example:
        >>> import torch
        >>> ids, mask = torch.tensor([[5, 6, 0], [5, 6, 7]]), torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
        >>> alone = {"ids": ids[:1, :2], "mask": mask[:1, :2]}
        >>> bool(hashes_of({"ids": ids, "mask": mask})[0] == hashes_of(alone)[0])
        True
    """
    arrays = {name: tensor.numpy() for name, tensor in sorted(inputs.items())}
    mask = arrays.get("mask")
    lengths = None if mask is None else real_lengths(mask)
    names = []
    for row in range(len(next(iter(arrays.values())))):
        digest = hashlib.blake2b(digest_size=16)
        for name, array in arrays.items():
            own = array[row]
            if mask is not None and lengths is not None and array.shape[:2] == mask.shape:
                own = own[: lengths[row]]
            digest.update(f"{name} {own.dtype} {own.shape};".encode() + own.tobytes())
        names.append(digest.digest())
    return np.frombuffer(b"".join(names), dtype="S16")


def real_lengths(mask: np.ndarray) -> np.ndarray:
    """`[N]`: places of `mask` `[N, T]` up to the last True."""
    return np.where(mask.any(1), mask.shape[1] - mask[:, ::-1].argmax(1), 0)
