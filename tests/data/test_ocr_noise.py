"""Spoilt texts: as many places as was said, nothing at a rate of 0, and words lost but never all."""

from __future__ import annotations

import difflib

import numpy as np
import pytest

from diptych.data.ocr_noise import LOOK_ALIKES, ocr_noise

TEXTS = ["the quick brown fox jumps over the lazy dog", "A man in a blue shirt climbs", ""] * 40


def test_look_alikes_go_both_ways():
    for one, others in LOOK_ALIKES.items():
        assert others and all(one in LOOK_ALIKES[other] for other in others)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_share_of_places_is_spoilt(rate: float):
    spoilt = ocr_noise(TEXTS, rate=rate, random=np.random.default_rng(0))
    same = sum(
        block.size
        for text, read in zip(TEXTS, spoilt, strict=True)
        for block in difflib.SequenceMatcher(None, text, read, autojunk=False).get_matching_blocks()
    )
    kept = same / sum(map(len, TEXTS))
    # Some spoilt places leave their letter standing (a doubled one, a space put in); pairs spoil two.
    assert 1 - 1.2 * rate < kept < 1 - 0.3 * rate


def test_nothing_changes_at_0_and_the_same_seed_gives_the_same():
    assert ocr_noise(TEXTS, rate=0, random=np.random.default_rng(0)) == TEXTS
    once, again = (ocr_noise(TEXTS, random=np.random.default_rng(5)) for _ in range(2))
    assert once == again != TEXTS


def test_words_are_lost_but_one():
    spoilt = ocr_noise(TEXTS, rate=0, lost_words=1.0, random=np.random.default_rng(0))
    assert all(
        read.split()[0] in text.split() and len(read.split()) == 1
        for text, read in zip(TEXTS, spoilt, strict=True)
        if text
    )
    half = ocr_noise(TEXTS, rate=0, lost_words=0.5, random=np.random.default_rng(0))
    kept = sum(len(read.split()) for read in half) / sum(len(text.split()) for text in TEXTS)
    assert 0.45 < kept < 0.62  # a half, and a little for the one that is always kept
    with pytest.raises(ValueError, match="rate is 2"):
        ocr_noise(TEXTS, rate=2, random=np.random.default_rng(0))
