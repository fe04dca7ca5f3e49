"""Things are learned where nouns stand; qualities and relations exclude what they say."""

from __future__ import annotations

import pytest

from diptych.data.word_classes import QUALITIES, RELATIONS, is_plural, learn_things, quality

CAPTIONS = [
    ["A dog runs on the grass.", "A puppy plays on the grass."],
    ["The dog barks.", "A puppy near a man."],
    ["A man jumps over a fence.", "The man is jumping."],
    ["A cat sits on the old fence.", "A cat."],
]


def test_things_are_those_that_stand_where_nouns_do():
    things = learn_things(CAPTIONS, least=1)
    # "dog" stands before verbs alone here, "runs" and "barks" behind no article: none of them is taken for a thing.
    assert dict(things.count) == {"cat": 1, "fence": 2, "grass": 1, "man": 2, "puppy": 2}


def test_a_word_counts_once_a_picture_and_must_be_had_by_some():
    things = learn_things(CAPTIONS, least=2)
    assert dict(things.count) == {"fence": 2, "man": 2, "puppy": 2}
    assert things.pictures == 4


def test_what_is_named_of_one_picture_is_not_apart():
    own = [
        ["a dog on a rug", "a puppy on a rug"],
        ["a dog in a car", "a puppy in a car"],
        ["a man on a bus"],
        ["a bus"],
    ]
    things = learn_things(own, least=1)
    assert not things.apart("dog", "puppy")  # together in 2 of 4 pictures, by chance 1
    assert things.apart("dog", "bus") and things.apart("bus", "dog")  # in none, by chance 1


def test_fits_knows_what_stands_side_by_side():
    things = learn_things([["A dog sleeps, and a cat runs."]], least=1)
    assert things.fits("a", "dog", "sleeps") and things.fits("a", "cat", "runs")
    assert things.fits("cat", "runs", "")  # an end
    assert not things.fits("a", "dog", "runs")


def test_no_word_is_of_two_classes_and_no_relation_is_its_own_contrary():
    words = [word for groups in QUALITIES.values() for group in groups for word in group]
    assert len(words) == len(set(words))
    assert all(relation not in others and others for relation, others in RELATIONS.items())
    assert quality("tiny") == ("size", ("small", "little", "tiny")) and quality("dog") is None
    assert not is_plural("bus") and is_plural("boxes")


def test_refusals():
    with pytest.raises(ValueError, match="no caption in 2 rows"):
        learn_things([[], []])
    with pytest.raises(ValueError, match="least is 0"):
        learn_things(CAPTIONS, least=0)
