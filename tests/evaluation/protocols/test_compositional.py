"""A model that knows which colour is whose is always right; a bag of words never tells a swap; chance is a half."""

from __future__ import annotations

import pytest
import torch
from hand_bench import HandBench, bag

from diptych.evaluation.protocols.compositional import measure

ROWS = {
    "text": [
        ["A black dog behind a white cat."],
        ["A white dog behind a black cat."],
        ["A black cat."],
        ["A white dog."],
    ]
}
VOCABULARY = ["black", "white", "dog", "cat.", "behind"]


def test_a_bag_of_words_ties_on_a_swap_and_a_tie_is_lost():
    bench = HandBench({**ROWS, "image": [own[0] for own in ROWS["text"]]}, image=bag(VOCABULARY), text=bag(VOCABULARY))
    found = measure(bench, kinds=["swap_attribute"], least=1)
    assert found.numbers == {
        "accuracy": 0.0,
        "accuracy_swap_attribute": 0.0,
        "blind_accuracy": 0.0,
        "blind_accuracy_swap_attribute": 0.0,
    }
    assert found.chance == dict.fromkeys(found.numbers, 0.5)
    assert len(found.items["accuracy"]) == 2 and len(found.shown) == 2
    assert any("no rule applies to 2 of 4 captions" in note for note in found.notes)


def test_a_reader_of_order_is_right_with_its_picture_and_wrong_with_the_other():
    def ordered(text: str) -> torch.Tensor:
        words = text.lower().rstrip(".").split()
        return torch.tensor([float("black dog" in " ".join(words)), float("white dog" in " ".join(words)), 0.1])

    two = {"text": ROWS["text"][:2]}
    bench = HandBench({**two, "image": [own[0] for own in two["text"]]}, image=ordered, text=ordered)
    found = measure(bench, kinds=["swap_attribute"], least=1)
    assert found.numbers["accuracy"] == 1.0
    assert found.numbers["blind_accuracy"] == 0.0  # the one other picture shows the swap


def test_refusals():
    bench = HandBench({"text": [["?"], ["!"]], "image": ["?", "!"]}, image=bag(["a"]), text=bag(["a"]))
    with pytest.raises(ValueError, match="applies to any of 2 captions"):
        measure(bench)
    with pytest.raises(ValueError, match="1 picture"):
        measure(HandBench({"text": [["A dog."]], "image": ["a"]}, image=bag(["a"]), text=bag(["a"])))
