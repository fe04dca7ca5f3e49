"""Negatives by hand, one a kind; what must never come out; and that a caption without a rule is named."""

from __future__ import annotations

import re

import pytest

from diptych.data.caption_negatives import KINDS, NegativeKind, caption_negatives
from diptych.data.word_classes import learn_things, quality, tokens_of

COLLECTION = [
    ["A black dog behind a white cat.", "Two dogs."],
    ["A man in a red car."],
    ["A woman on an orange bench near the tree."],
    ["An old man with a small dog on a bench.", "A man and a dog."],
    ["A red apple on a wooden table."],
    ["A white car near a white house."],
]
THINGS = learn_things(COLLECTION, least=1)
MATERIALS = ("wooden", "plastic", "stone", "leather", "glass")


def made(caption: str, kind: NegativeKind, *, seed: int = 0, others: tuple[str, ...] = ()) -> str | None:
    found = caption_negatives([[caption, *others]], THINGS, kinds=[kind], seed=seed).found
    return next((one.negative for one in found if one.text == 0), None)


def test_swapped_things_keep_all_other_words():
    assert made("A man behind a tree.", "swap_object") is None  # nothing has "tree behind"
    assert made("A dog on a bench.", "swap_object") is None  # nor "bench on"
    assert made("A man in a car.", "swap_object") is None
    things = learn_things([["A man near a car.", "A car near a man."]], least=1)
    found = caption_negatives([["The man near a car."]], things, kinds=["swap_object"]).found
    assert not found  # "near" is the same the other way
    things = learn_things([["A man behind a car.", "A car behind a man."]], least=1)
    found = caption_negatives([["A man behind a car."]], things, kinds=["swap_object"]).found
    assert [one.negative for one in found] == ["A car behind a man."]


def test_swapped_qualities():
    own = [["A black dog behind a white cat."]]
    things = learn_things(own, least=1)
    found = caption_negatives(own, things, kinds=["swap_attribute"]).found
    assert [one.negative for one in found] == ["A white dog behind a black cat."]
    same = "A black dog behind a white dog."
    assert not caption_negatives([[same]], things, kinds=["swap_attribute"]).found
    joined = "A black and white dog behind a white cat."
    assert not caption_negatives([[joined]], things, kinds=["swap_attribute"]).found


@pytest.mark.parametrize(
    ("caption", "kind", "choices"),
    [
        ("A dog on a metal table.", "replace_attribute", {f"A dog on a {m} table." for m in MATERIALS}),
        ("A dog near a metal tree.", "replace_attribute", {None}),  # no tree is of any material elsewhere
        ("The man in a car", "replace_relation", {"The man next to a car", "The man behind a car"}),
        ("A dog in front of the tree.", "replace_relation", {"A dog behind the tree."}),
        (
            "On the table is an apple.",
            "replace_relation",
            {"Next to the table is an apple.", "Under the table is an apple."},
        ),
        ("A woman on the bench", "add_attribute", {"A woman on the orange bench"}),
        ("A red apple.", "replace_object", {"A red car."}),
    ],
)
def test_by_hand(caption: str, kind: NegativeKind, choices: set[str | None]):
    assert {made(caption, kind, seed=seed) for seed in range(20)} == choices


def test_articles_fit_and_capitals_stay():
    made_of = [made("An old man", "replace_attribute"), made("Young man with an old dog", "replace_attribute")]
    assert made_of == ["A young man", None]  # no dog is young or old elsewhere, and both ages of men are named
    assert made("An orange bench", "replace_attribute") not in (None, "An orange bench")
    assert str(made("An orange bench", "replace_attribute")).startswith("A ")  # no other colour begins with a vowel


def test_nothing_that_another_caption_says_is_put_in():
    for seed in range(10):
        negative = made("A man in a red car.", "add_object", seed=seed, others=("A woman, a dog and a cat.",))
        assert negative is not None
        assert not {"woman", "dog", "cat", "man", "car"} & set(re.findall("[a-z]+", negative.split(" and ")[-1]))


def test_no_negative_is_a_caption_of_its_picture_and_each_lack_is_named():
    made_of_all = caption_negatives(COLLECTION, THINGS)
    for one in made_of_all.found:
        words = [" ".join(t.word for t in tokens_of(text)) for text in COLLECTION[one.image]]
        assert " ".join(t.word for t in tokens_of(one.negative)) not in words
        assert one.caption == COLLECTION[one.image][one.text]
    texts = sum(map(len, COLLECTION))
    for kind in KINDS:
        found = {(one.image, one.text) for one in made_of_all.found if one.kind == kind}
        lost = set(made_of_all.without[kind])
        assert not found & lost and len(found) + len(lost) == texts
    assert made_of_all.found  # and the loop above ran


def test_a_replaced_quality_is_of_the_same_class_and_of_another_meaning():
    own = [["A small grey dog."], ["A silver dog."], ["A tiny dog."], ["A large dog."], ["A black dog."]]
    things = learn_things(own, least=1)
    for seed in range(20):
        found = caption_negatives([["A dog.", "A grey dog."]], things, kinds=["replace_attribute"], seed=seed).found
        assert found[0].negative not in ("A silver dog.", "A gray dog.") and found[0].text == 1
    assert quality("silver") == quality("grey")


def test_the_same_seed_gives_the_same_and_a_caption_does_not_depend_on_the_others():
    one, again = (caption_negatives(COLLECTION, THINGS, seed=3).found for _ in range(2))
    assert one == again
    fewer = caption_negatives(COLLECTION[:2], THINGS, seed=3).found
    assert fewer == [n for n in one if n.image < 2]


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="no such kinds"):
        caption_negatives(COLLECTION, THINGS, kinds=["swap_all"])  # type: ignore[list-item]
