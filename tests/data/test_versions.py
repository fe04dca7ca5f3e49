"""Stored augmentations: each depends on the item, the number and the seed alone, and every row is drawn one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.data.items import hashes_of
from diptych.data.transforms import RandomAffine
from diptych.data.versions import Augmented, Version, Versions
from diptych.data.views import Arrays

AUGMENT = (RandomAffine(crop=0.5, flip=0.5, shift=2.0),)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (16, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def changed(version: Version, pixels: torch.Tensor) -> torch.Tensor:
    view = Augmented(Arrays({"pixels": pixels.numpy()}), "image", hashes_of({"pixels": pixels}), version)
    return view.take(np.arange(len(pixels)))["pixels"]


def test_an_item_changes_alike_in_any_company(pixels: torch.Tensor):
    version = Version(AUGMENT, 2, seed=5)
    together = changed(version, pixels)
    assert not torch.equal(together, pixels)
    assert torch.equal(together[[7, 3]], changed(version, pixels[[7, 3]]))


def test_numbers_seeds_and_items_change_differently(pixels: torch.Tensor):
    made = [changed(version, pixels) for version in (Version(AUGMENT, 0), Version(AUGMENT, 1), Version(AUGMENT, 0, 1))]
    same = [(a == b).flatten(1).all(1).sum() for a, b in ((made[0], made[1]), (made[0], made[2]))]
    assert max(same) == 0
    flips = changed(Version((RandomAffine(flip=0.5),), 0), pixels)
    mirrored = int((flips == pixels.flip(3)).flatten(1).all(1).sum())
    assert 0 < mirrored < 16  # all 16 alike: one in 32,768


def versions(rows: int = 400, number: int = 4) -> Versions:
    """Row i of version k holds 1000 k + i."""
    return Versions([Arrays({"pooled": 1000.0 * k + np.arange(rows)[:, None]}) for k in range(number)], AUGMENT)


def test_every_row_is_drawn_one_version_whatever_the_batch():
    view, rows = versions(), np.array([7, 0, 399, 7, 250])
    drawn = view.drawn(3)
    whole = drawn.take(np.arange(400))["pooled"].flatten().long()
    assert torch.equal(whole % 1000, torch.arange(400))
    counts = torch.bincount(whole // 1000, minlength=4)
    assert len(counts) == 4 and int(counts.min()) > 65  # four standard deviations below 100
    assert torch.equal(drawn.take(rows)["pooled"].flatten().long(), whole[torch.from_numpy(rows)])
    assert torch.equal(view.drawn(3).take(rows)["pooled"], drawn.take(rows)["pooled"])
    assert not torch.equal(view.drawn(4).take(np.arange(400))["pooled"].flatten().long(), whole)
    assert drawn.take(np.zeros(0, np.int64))["pooled"].shape == (0, 1)


def test_without_a_draw_it_is_the_first_version():
    assert versions().take(np.array([5, 2]))["pooled"].flatten().tolist() == [5, 2]


def test_versions_with_sequences_of_other_lengths_are_padded():
    class Lengths:
        def __init__(self, length: int) -> None:
            self.length = length

        def __len__(self) -> int:
            return 40

        def take(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
            shape = len(rows), self.length
            return {"tokens": torch.ones(*shape, 2) * self.length, "mask": torch.ones(shape, dtype=torch.bool)}

    taken = Versions([Lengths(2), Lengths(5)]).drawn(0).take(np.arange(40))
    lengths = taken["mask"].sum(1)
    assert taken["tokens"].shape == (40, 5, 2) and set(lengths.tolist()) == {2, 5}
    assert torch.equal(taken["tokens"].sum((1, 2)), 2.0 * lengths**2)  # padding is zero
