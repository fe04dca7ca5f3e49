"""Texts as hurried people write them: slips of the keys, lost and exchanged words, other capitals, no marks.

Degrees go from 1 to 5 and say which share of places is changed (`SHARES`); kinds that have no degrees (`lower`,
`upper`, `no_marks`) are the same at each. Misread print and lost words are those of `diptych.data.ocr_noise`. None puts
another word in a word's place: what means the same is not known here.

Use it to measure what a model bears (`diptych.evaluation.protocols.robustness`). English letters are spoilt, others
are exchanged or lost only.

Source: the kinds, as in Qiu et al. 2022 (MMRobustness, arXiv 2212.08044), fewer; shares are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from diptych.data.ocr_noise import ocr_noise

Perturbation = Literal["typos", "misread", "lost_words", "exchanged_words", "lower", "upper", "no_marks"]
PERTURBATIONS: tuple[Perturbation, ...] = get_args(Perturbation)
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Of letters (typos, misread) or words that are changed, at degrees 1 to 5."""

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_KEYS = {key: tuple({*row[max(i - 1, 0) : i + 2]} - {key}) for row in _ROWS for i, key in enumerate(row)}


def perturb(texts: Sequence[str], kind: Perturbation, severity: int, *, random: np.random.Generator) -> list[str]:
    """The texts, changed.

    Args:
        texts: any.
        kind: see `PERTURBATIONS`.
        severity: 1 to 5.
        random: of all choices.

    Raises:
        ValueError: if there is no such kind or degree.

    Example:
        >>> perturb(["A dog, a cat."], "no_marks", 1, random=np.random.default_rng(0))
        ['A dog a cat']
    """
    if kind not in _KINDS or not 1 <= severity <= len(SHARES):
        raise ValueError(
            f"no perturbation {kind!r} of degree {severity}; there are {', '.join(PERTURBATIONS)} of 1 to 5"
        )
    share = SHARES[severity - 1]
    return [_KINDS[kind](text, share, random) for text in texts]


def _typos(text: str, share: float, random: np.random.Generator) -> str:
    """A letter's neighbour on the keys, the next letter before it, none, or twice the letter."""
    out, at = [], 0
    while at < len(text):
        letter = text[at]
        if letter == " " or random.random() >= share:
            out.append(letter)
            at += 1
            continue
        slip, near = random.integers(4), _KEYS.get(letter.lower())
        if slip == 0 and near:
            key = sorted(near)[random.integers(len(near))]
            out.append(key.upper() if letter.isupper() else key)
        elif slip == 1 and at + 1 < len(text):
            out += [text[at + 1], letter]
            at += 1
        elif slip == 2:
            out.append(letter * 2)
        at += 1
    return "".join(out)


def _misread(text: str, share: float, random: np.random.Generator) -> str:
    return ocr_noise([text], rate=share, random=random)[0]


def _lost_words(text: str, share: float, random: np.random.Generator) -> str:
    return ocr_noise([text], rate=0.0, lost_words=share, random=random)[0]


def _exchanged_words(text: str, share: float, random: np.random.Generator) -> str:
    """A word and the next change places."""
    words = text.split()
    at = 0
    while at + 1 < len(words):
        if random.random() < share:
            words[at], words[at + 1] = words[at + 1], words[at]
            at += 1
        at += 1
    return " ".join(words)


def _no_marks(text: str, share: float, random: np.random.Generator) -> str:
    kept = "".join(letter for letter in text if letter.isalnum() or letter.isspace() or letter in "'-’")
    return " ".join(kept.split()) or text


_KINDS: Mapping[Perturbation, Callable[[str, float, np.random.Generator], str]] = {
    "typos": _typos,
    "misread": _misread,
    "lost_words": _lost_words,
    "exchanged_words": _exchanged_words,
    "lower": lambda text, share, random: text.lower(),
    "upper": lambda text, share, random: text.upper(),
    "no_marks": _no_marks,
}
