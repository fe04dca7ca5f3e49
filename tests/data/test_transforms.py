"""Augmentation moves pixels as said, and depends on its generator alone."""

import pytest
import torch

from diptych.core import Batch
from diptych.data.transforms import RandomAffine


def batch(pixels: torch.Tensor) -> Batch:
    n = len(pixels)
    return Batch({"image": {"pixels": pixels}}, {"image": torch.zeros(n, 1)}, {"image": torch.zeros(n)})


def moved(transform: RandomAffine, pixels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return transform(batch(pixels), torch.Generator().manual_seed(seed)).inputs["image"]["pixels"]


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (64, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_nothing_asked_nothing_done(pixels: torch.Tensor):
    assert moved(RandomAffine(), pixels) is pixels


def test_flip_mirrors_all_or_about_half(pixels: torch.Tensor):
    assert torch.equal(moved(RandomAffine(flip=1.0), pixels), pixels.flip(3))
    flipped = (moved(RandomAffine(flip=0.5), pixels) == pixels.flip(3)).flatten(1).all(1).sum()
    assert 16 <= int(flipped) <= 48  # four standard deviations of a fair coin, thrown 64 times


def test_a_shift_moves_a_dot_by_at_most_as_many_pixels():
    dots = torch.zeros(200, 1, 11, 11, dtype=torch.uint8)
    dots[:, :, 5, 5] = 255
    out = moved(RandomAffine(shift=2.0), dots).float().flatten(2)
    rows = (out * torch.arange(11.0).repeat_interleave(11)).sum(2) / out.sum(2)  # centre of mass
    assert 1.5 < float((rows - 5).abs().max()) <= 2.05
    assert abs(float(rows.mean()) - 5) < 0.3


def test_the_generator_decides(pixels: torch.Tensor):
    transform = RandomAffine(shift=1, zoom=0.1, shear=0.1, crop=0.7, flip=0.5)
    assert torch.equal(moved(transform, pixels, 3), moved(transform, pixels, 3))
    assert not torch.equal(moved(transform, pixels, 3), moved(transform, pixels, 4))


def test_stored_features_cannot_be_augmented():
    features = Batch({"image": {"pooled": torch.zeros(2, 4)}}, {"image": torch.zeros(2, 1)}, {"image": torch.zeros(2)})
    with pytest.raises(ValueError, match="cannot be augmented"):
        RandomAffine(flip=0.5)(features, torch.Generator())


def test_white_stays_white():
    white = torch.full((8, 3, 9, 9), 255, dtype=torch.uint8)
    assert torch.equal(moved(RandomAffine(shift=3, zoom=0.2, shear=0.2, crop=0.5), white), white)
