"""Random parts lie inside the picture, keep to their share and shape, and are cut where they say."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.crop import RandomCrop
from diptych.data.processors import ImageProcessor


class Fixed(RandomCrop):
    """The part from (100, 60) to (500, 400)."""

    def box(self, width: int, height: int, random: np.random.Generator) -> tuple[float, float, float, float]:
        return 100, 60, 500, 400


def landscape() -> Image.Image:
    """640 x 480 whose spectrum falls with frequency, as that of photographs does."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(480)[:, None], np.fft.fftfreq(640)[None]) + 1e-3
    planes = [np.fft.ifft2(np.fft.fft2(random.normal(size=(480, 640))) / frequency**1.25).real for _ in range(4)]
    light, *colours = [50 * (plane - plane.mean()) / plane.std() for plane in planes]
    picture = np.stack([128 + light + 0.25 * colour for colour in colours], -1)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **({"quality": 90} if format == "JPEG" else {}))
    return stream.getvalue()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(0.05, 1), st.floats(1, 3), st.integers(0, 99))
def test_parts_keep_to_share_and_shape(width: int, height: int, least: float, ratio: float, seed: int):
    left, top, right, bottom = RandomCrop(least, ratio).box(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width * (1 + 1e-9) and 0 <= top < bottom <= height * (1 + 1e-9)
    shape = (right - left) / (bottom - top)
    assert 1 / ratio - 1e-6 <= shape <= ratio + 1e-6
    if 1 / ratio <= width / height <= ratio:  # else so much may not fit
        assert (right - left) * (bottom - top) >= least * width * height * (1 - 1e-6)


def test_the_share_is_uniform_where_all_fit():
    random = np.random.default_rng(0)
    boxes = [RandomCrop(0.2, 1.0).box(100, 100, random) for _ in range(4000)]
    shares = np.array([(right - left) * (bottom - top) / 1e4 for left, top, right, bottom in boxes])
    deciles = np.quantile(shares, [0.1, 0.5, 0.9])
    assert np.allclose(deciles, [0.28, 0.6, 0.92], atol=0.03)  # three standard errors of a decile of 4,000 are 0.02


def test_the_part_is_cut_where_the_box_says():
    image = landscape()
    cut = np.asarray(image.crop((100, 60, 500, 400)).resize((64, 64), Image.Resampling.BICUBIC))
    mine = ImageProcessor(64).one(encoded(image, "PNG"), crop=Fixed(), random=np.random.default_rng(0))
    inside = np.s_[:, 3:-3, 3:-3]  # at its rim a resize of a box sees the pixels beyond it, one of a cut does not
    assert np.abs(mine.astype(int) - cut.transpose(2, 0, 1))[inside].max() <= 1  # rounding


@pytest.mark.parametrize("crop", [None, Fixed()])
def test_a_photograph_decoded_at_a_fraction_is_near_the_exact_resize(crop: RandomCrop | None):
    data = encoded(landscape(), "JPEG")
    whole = Image.open(BytesIO(data)).convert("RGB")  # already decoded, so no fraction of it can be
    random = np.random.default_rng(0)
    mine, exact = (ImageProcessor(112).one(value, crop=crop, random=random).astype(int) for value in (data, whole))
    bilinear = ImageProcessor(112, interpolation="bilinear").one(whole, crop=crop, random=random).astype(int)
    # It is measured against the choice of the filter, which moves such pictures by 2 grey levels of 255 on average.
    assert 0 < np.abs(mine - exact).mean() < 1.5 * np.abs(bilinear - exact).mean() < 4


def test_a_sideways_photograph_is_cut_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown turned clockwise
    stream = BytesIO()
    landscape().transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", quality=95, exif=exif)
    mine = ImageProcessor(64).one(stream.getvalue(), crop=Fixed(), random=np.random.default_rng(0))
    exact = ImageProcessor(64).one(encoded(landscape(), "PNG"), crop=Fixed(), random=np.random.default_rng(0))
    assert np.abs(mine.astype(int) - exact).mean() < 3  # JPEG's own error


@pytest.mark.parametrize(("least", "ratio"), [(0, 2), (1.1, 2), (0.5, 0.5)])
def test_impossible_parts_are_refused(least: float, ratio: float):
    with pytest.raises(ValueError, match="expected 0 < least <= 1 <= ratio"):
        RandomCrop(least, ratio)
