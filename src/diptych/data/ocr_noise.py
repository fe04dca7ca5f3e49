"""Texts as a reader of printed pages gets them wrong: letters that look alike, lost and doubled ones, broken spaces.

Each place of a text is spoilt by chance: by a look-alike (l for 1, rn for m, and back), or where there is none or as
often, by a lost letter, a doubled one, a wrong one, or a space put in or left out. Whole words can be lost too, as of
titles that lie in part behind something. Use it to make pairs of clean and spoilt texts, to fit a matcher that bears
with such errors (`diptych.scoring.NoisyText`) or to measure one.

Sources: the kinds of errors as in Nguyen et al. 2019 ("Deep statistical analysis of OCR errors"); that a matcher is to
be trained on noisy readings and partial texts, Llabrés et al. 2024, arXiv 2407.19812. Rates and pairs are ours.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

_PAIRS = [
    *(("l", "1"), ("i", "l"), ("i", "1"), ("o", "0"), ("s", "5"), ("b", "6"), ("g", "9"), ("z", "2"), ("e", "c")),
    *(("a", "o"), ("u", "v"), ("h", "b"), ("n", "r"), ("t", "f"), ("rn", "m"), ("cl", "d"), ("vv", "w"), ("li", "h")),
    *(("I", "l"), ("O", "0"), ("B", "8"), ("S", "5"), ("E", "F"), ("Z", "2")),
]
LOOK_ALIKES: dict[str, tuple[str, ...]] = {
    one: tuple(b if a == one else a for a, b in _PAIRS if one in (a, b)) for pair in _PAIRS for one in pair
}
"""What each letter, or pair of letters, is read as."""


def ocr_noise(
    texts: Sequence[str], *, rate: float = 0.1, lost_words: float = 0.0, random: np.random.Generator
) -> list[str]:
    """The texts, spoilt.

    Args:
        texts: any.
        rate: share of places that are spoilt, 0 to 1.
        lost_words: share of words that are lost, 0 to 1; one of each text is kept.
        random: of all choices.

    Raises:
        ValueError: if a share is not from 0 to 1.

    Example:
        >>> ocr_noise(["a small cloud"], rate=0.3, random=np.random.default_rng(1))
        ['a ssmallcloud']
    """
    if not 0 <= rate <= 1 or not 0 <= lost_words <= 1:
        raise ValueError(f"rate is {rate} and lost_words {lost_words}; both are shares, 0 to 1")
    return [_spoilt(_shortened(text, lost_words, random), rate, random) for text in texts]


def _shortened(text: str, lost: float, random: np.random.Generator) -> str:
    words = text.split()
    if not lost or not words:
        return text
    kept = random.random(len(words)) >= lost
    kept[random.integers(len(words))] = True
    return " ".join(word for word, keep in zip(words, kept, strict=True) if keep)


def _spoilt(text: str, rate: float, random: np.random.Generator) -> str:
    out, at = [], 0
    while at < len(text):
        if random.random() >= rate:
            out.append(text[at])
            at += 1
            continue
        two = text[at : at + 2]
        read = two if len(two) == 2 and two in LOOK_ALIKES else text[at]
        out.append(_misread(read, random))
        at += len(read)
    return "".join(out)


def _misread(read: str, random: np.random.Generator) -> str:
    """What one letter, or a pair that looks like one, is taken for."""
    alike = LOOK_ALIKES.get(read, ())
    if alike and random.random() < 0.5:
        return alike[random.integers(len(alike))]
    if read == " ":
        return ""
    wrong = string.ascii_lowercase[random.integers(26)]
    return ("", read + read[-1], wrong + read[1:], read + " ")[random.integers(4)]
