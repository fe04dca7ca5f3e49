"""Any text has tokens, and images come out square."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.processors import ImageProcessor, TextProcessor

FITTED = TextProcessor(400, lowercase=False).fit(["some plain english words", "words and more words"])


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_text_is_encoded_without_loss(text: str):
    import unicodedata

    assert FITTED._tokenizer is not None
    row = FITTED._tokenizer.encode(text).ids
    decoded, expected = FITTED._tokenizer.decode(row), unicodedata.normalize("NFKC", text)
    assert decoded.removeprefix(" ") == expected.removeprefix(" ")  # a space may stand before the first word


def test_before_fit_it_says_so():
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        TextProcessor()(["a"])


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (33, 33), (1, 50)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_images_come_out_square(size, resize):
    assert ImageProcessor(16, resize=resize).one(Image.new("RGB", size, "red")).shape == (3, 16, 16)


def test_a_thin_strip_is_cropped_before_it_is_enlarged():
    strip = ImageProcessor(224).one(Image.new("RGB", (1, 20_000), "red"))  # enlarged first, it would take 3 GB
    assert strip.shape == (3, 224, 224) and (strip[0] == 255).all()


def test_crop_keeps_the_centre_and_pad_keeps_all():
    wide = Image.fromarray(
        np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8), 16, 1).repeat(16, 0)
    )
    centre = ImageProcessor(16, interpolation="nearest").one(wide)
    assert (centre[1] == 255).all() and (centre[0] == 0).all()
    whole = ImageProcessor(48, resize="pad", interpolation="nearest").one(wide)
    assert whole[:, 24, 0].tolist() == [255, 0, 0] and whole[:, 24, 47].tolist() == [0, 0, 255]
    assert (whole[:, :16] == 255).all()  # white above and below
