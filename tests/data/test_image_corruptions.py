"""Each corruption by what it must do to a known picture; worse degrees are worse; size, mode and seed are kept."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from diptych.data.image_corruptions import CORRUPTIONS, SIDE, Corruption, corrupt


def scene(side: int = 64) -> Image.Image:
    """A smooth coloured field with a sharp square in it."""
    y, x = np.mgrid[0:side, 0:side] / side
    pixels = np.stack([60 + 120 * x, 60 + 120 * y, 150 - 60 * x * y], 2)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = (200, 40, 40)
    return Image.fromarray(pixels.astype(np.uint8))


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64)


def worse(kind: Corruption, severity: int, *, image: Image.Image | None = None, seed: int = 0) -> np.ndarray:
    return values(corrupt(image or scene(), kind, severity, random=np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_size_mode_and_seed(kind: Corruption):
    made = corrupt(scene(), kind, 3, random=np.random.default_rng(0))
    assert made.size == (64, 64) and made.mode == "RGB"
    assert (worse(kind, 3) == worse(kind, 3)).all() and (worse(kind, 3) != values(scene())).any()


@pytest.mark.parametrize("kind", [kind for kind in CORRUPTIONS if kind != "saturation"])
def test_the_highest_degree_is_further_from_the_picture_than_the_first(kind: Corruption):
    first, last = (np.abs(worse(kind, severity, image=scene(SIDE)) - values(scene(SIDE))).mean() for severity in (1, 5))
    assert last > 1.1 * first


def test_noise_is_as_wide_as_said():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    # 120,000 values: a standard deviation is known to 0.3 %, a share of 0.03 to 0.0005.
    assert worse("gaussian_noise", 1, image=grey).std() / 255 == pytest.approx(0.08, rel=0.02)
    photons = worse("shot_noise", 2, image=grey).std() / 255
    assert photons == pytest.approx(np.sqrt(128 / 255 / 25), rel=0.02)  # of a Poisson count over 25
    extreme = np.isin(worse("impulse_noise", 1, image=grey), (0, 255)).mean()
    assert extreme == pytest.approx(0.03, abs=0.002)


def test_light_and_colour_by_hand():
    one = Image.new("RGB", (8, 8), (100, 50, 50))
    assert worse("greyness", 5, image=one)[0, 0].tolist() == [65, 65, 65]  # 0.299 * 100 + 0.701 * 50, rounded
    assert worse("brightness", 2, image=one).max() == pytest.approx(100 + 0.2 * 255, abs=1)
    assert np.ptp(worse("saturation", 2, image=one)[0, 0]) < 8 < 50  # a tenth of its colour is left
    half = Image.fromarray(np.repeat(np.array([[[50] * 3, [150] * 3]], np.uint8), 4, 0))
    assert worse("contrast", 1, image=half)[0].tolist() == [[80] * 3, [120] * 3]  # 100 -+ 0.4 * 50


def test_blurs_and_pixels_keep_the_mean_and_spread_an_edge():
    dark = np.zeros((64, 64, 3), np.uint8)
    dark[:, 32:] = 200
    edge = Image.fromarray(dark)
    for kind in ("gaussian_blur", "motion_blur"):
        soft = worse(kind, 3, image=edge)
        assert soft.mean() == pytest.approx(100, abs=1.5)
        assert ((soft > 10) & (soft < 190)).any()
    blocks = worse("pixelation", 5, image=scene(SIDE))[..., 0]
    changes = (np.diff(blocks, axis=1) != 0).any(0)
    assert 20 <= changes.sum() <= 56  # a quarter of the columns begin a block, fewer where neighbours are alike


def test_blurs_are_as_wide_of_a_small_picture_as_of_a_large_one():
    small, large = (worse("gaussian_blur", 5, image=scene(side)) for side in (64, 256))
    shrunk = values(Image.fromarray(large.astype(np.uint8)).resize((64, 64), Image.Resampling.BOX))
    assert np.abs(shrunk - small).mean() < 1 < 1.5 < np.abs(small - values(scene())).mean()


def test_refusals():
    with pytest.raises(ValueError, match="no corruption 'jpeg' of degree 6"):
        worse("jpeg", 6)
    with pytest.raises(ValueError, match="no corruption 'fog'"):
        worse("fog", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode 'L'"):
        worse("jpeg", 1, image=scene().convert("L"))
