"""A painted word lies in its band, is dark on white, fits the width, and leaves the rest as it was."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from diptych.data.painted_words import paint_word

GREEN = Image.new("RGB", (120, 100), (0, 200, 0))


@pytest.mark.parametrize("word", ["dog", "a very long name of some class indeed"])
def test_the_band_holds_the_word_and_nothing_else_changes(word: str):
    pixels = np.asarray(paint_word(GREEN, word, height=0.2)).astype(int)
    assert (pixels[:80] == (0, 200, 0)).all()
    band = pixels[80:]
    assert (band == 255).all(2).mean() > 0.5 and (band == band[..., :1]).all()  # white, black and greys between
    dark = (band < 100).all(2)
    columns = np.flatnonzero(dark.any(0))
    assert dark.sum() > 5 and columns[0] > 0 and columns[-1] < 119  # whole inside
    assert abs((columns[0] + columns[-1]) / 2 - 60) < 4  # and in the middle


def test_words_look_different_and_the_picture_given_is_unchanged():
    one, other = (np.asarray(paint_word(GREEN, word)) for word in ("dog", "cat"))
    assert (one != other).any() and (np.asarray(GREEN) == (0, 200, 0)).all()


def test_refusals():
    with pytest.raises(ValueError, match="word is ' '"):
        paint_word(GREEN, " ")
    with pytest.raises(ValueError, match="height 2"):
        paint_word(GREEN, "dog", height=2)
