"""Each perturbation by what it must keep and what it must change; shares, seeds and refusals."""

from __future__ import annotations

import difflib

import numpy as np
import pytest

from diptych.data.text_perturbations import PERTURBATIONS, SHARES, Perturbation, perturb

TEXTS = ["A man in a blue shirt climbs, slowly.", "Two dogs run over the wet grass!"] * 60


def made(kind: Perturbation, severity: int, texts: list[str] = TEXTS, seed: int = 0) -> list[str]:
    return perturb(texts, kind, severity, random=np.random.default_rng(seed))


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_one_text_for_each_and_the_same_for_a_seed(kind: Perturbation):
    assert made(kind, 4) == made(kind, 4) and len(made(kind, 4)) == len(TEXTS)
    assert made(kind, 4) != TEXTS and made(kind, 1, ["", "?"])[0] == ""


@pytest.mark.parametrize("severity", [2, 4])
def test_the_share_of_letters_is_spoilt_and_no_space_is_lost(severity: int):
    spoilt = made("typos", severity)
    same = sum(
        block.size
        for text, read in zip(TEXTS, spoilt, strict=True)
        for block in difflib.SequenceMatcher(None, text, read, autojunk=False).get_matching_blocks()
    )
    lost = 1 - same / sum(map(len, TEXTS))
    # A doubled letter loses none, a lost or wrong one loses one: between a quarter of the share and all of it.
    assert 0.25 * SHARES[severity - 1] < lost < 1.1 * SHARES[severity - 1]


def test_exchanged_words_are_the_same_words_and_only_neighbours_move():
    for text, read in zip(TEXTS, made("exchanged_words", 5), strict=True):
        words, moved = text.split(), read.split()
        assert sorted(words) == sorted(moved)
        places = [moved.index(word) for word in words]
        assert all(abs(place - i) <= 1 for i, place in enumerate(places)) or len(set(words)) < len(words)


def test_plain_ones_by_hand():
    assert made("lower", 1, ["A Dog"]) == ["a dog"] and made("upper", 5, ["A Dog"]) == ["A DOG"]
    assert made("no_marks", 1, ["a dog's t-shirt, red!", "?!"]) == ["a dog's t-shirt red", "?!"]
    assert all(set(read.split()) <= set(text.split()) for text, read in zip(TEXTS, made("lost_words", 5), strict=True))


def test_refusals():
    with pytest.raises(ValueError, match="no perturbation 'typos' of degree 0"):
        made("typos", 0)
    with pytest.raises(ValueError, match="no perturbation 'synonyms'"):
        made("synonyms", 1)  # type: ignore[arg-type]
