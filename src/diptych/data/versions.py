"""Stored augmentations: a stated number of changed versions of every picture, for towers whose features are stored.

    version k of an item = transforms(item, generator seeded by (seed, k, the item's hash))

A frozen tower runs once a picture, so a picture that changes with every step would undo what storing saves.
With K versions the tower runs K times a picture, once and for all, and every batch draws one of them for each row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.embedding import pad_tokens
from diptych.data.transforms import Transform
from diptych.data.views import View


@dataclass(frozen=True)
class Version:
    """One augmentation of every item, the same on every machine and in any collection.

    Attributes:
        transforms: act on each picture alone.
        number: 0, 1, 2 ... of this version.
        seed: of all versions.
    """

    transforms: tuple[Transform, ...]
    number: int
    seed: int = 0

    def apply(self, view: str, inputs: Mapping[str, Tensor], item: bytes) -> Mapping[str, Tensor]:
        """The inputs of one row (each tensor led by 1) of a view, changed.

        Args:
            view: that the transforms act on, `"image"`.
            inputs: of the row.
            item: its name, 16 bytes.
        """
        said = f"{self.seed} {self.number} ".encode() + item
        seed = int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little") >> 1
        generator, zero = torch.Generator().manual_seed(seed), torch.zeros(1, dtype=torch.long)
        batch = Batch({view: inputs}, {view: zero[None]}, {view: zero})
        for transform in self.transforms:
            batch = transform(batch, generator)
        return batch.inputs[view]


class Augmented:
    """One version of every row of a view, made when it is asked for.

    Args:
        view: the rows as they are.
        name: of the view, which the transforms know.
        items: the rows' names, `[rows]` S16; see `diptych.data.items`.
        version: which.
    """

    def __init__(self, view: View, name: str, items: np.ndarray, version: Version) -> None:
        self.view, self.name, self.items, self.version = view, name, items, version

    def __len__(self) -> int:
        return len(self.view)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        inputs = self.view.take(rows)
        names = np.ascontiguousarray(self.items[rows]).view(np.uint8).reshape(-1, 16)
        changed = [
            self.version.apply(self.name, {key: tensor[i : i + 1] for key, tensor in inputs.items()}, name.tobytes())
            for i, name in enumerate(names)
        ]
        return {key: torch.cat([one[key] for one in changed]) for key in changed[0]} if changed else inputs


class Versions:
    """A view of which every row has several versions; `drawn` takes one of each row, `take` the first.

    Args:
        versions: of the same rows.
        transforms: that made them.
    """

    def __init__(self, versions: Sequence[View], transforms: Sequence[Transform] = ()) -> None:
        self.versions, self.transforms = tuple(versions), tuple(transforms)
        self.lengths = getattr(versions[0], "lengths", None)

    def __len__(self) -> int:
        return len(self.versions[0])

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.versions[0].take(rows)

    def drawn(self, seed: int) -> Drawn:
        """A version of each row, drawn by the seed: whatever the batch and its order, a row has the same one."""
        return Drawn(self.versions, np.random.default_rng(seed).integers(len(self.versions), size=len(self)))


class Drawn:
    """A view that has each row in one of several versions.

    Args:
        versions: of the same rows.
        choice: `[rows]`, the number of the version of each.
    """

    def __init__(self, versions: Sequence[View], choice: np.ndarray) -> None:
        self.versions, self.choice = versions, choice

    def __len__(self) -> int:
        return len(self.choice)

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        choice = self.choice[rows]
        numbers = np.unique(choice) if len(rows) else [0]
        parts = [self.versions[number].take(rows[choice == number]) for number in numbers]
        back = torch.from_numpy(np.argsort(np.argsort(choice, kind="stable"), kind="stable"))
        longest = max(part["mask"].shape[1] for part in parts) if "mask" in parts[0] else 0
        ragged = {name for name in parts[0] if name in ("tokens", "mask")}
        return {
            name: torch.cat([pad_tokens(part[name], longest) if name in ragged else part[name] for part in parts])[back]
            for name in parts[0]
        }
