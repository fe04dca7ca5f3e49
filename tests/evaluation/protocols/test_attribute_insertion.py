"""Qualities go before bare things alone, the chosen are those that the picture has, and articles fit."""

from __future__ import annotations

import pytest
import torch
from hand_bench import HandBench, bag

from diptych.evaluation.protocols.attribute_insertion import measure

WORDS = ["red", "blue", "orange", "dog", "cat"]
TEXTS = [["A dog."], ["A dog."], ["A cat."], ["A red dog.", "A blue dog.", "An orange cat.", "A blue cat."]]
SEEN = ["red dog", "blue dog", "orange cat", "nothing"]


def reading(text: str) -> torch.Tensor:
    return torch.as_tensor(bag(WORDS)(text.lower().replace(".", "")))


def test_a_model_that_sees_the_quality_gains_by_it():
    asked: list[str] = []

    def text(value: str) -> torch.Tensor:
        asked.append(value)
        return reading(value)

    bench = HandBench({"image": SEEN, "text": TEXTS}, image=reading, text=text)
    found = measure(bench, least=1)
    assert {"A red dog.", "A blue dog.", "An orange cat."} <= set(asked)
    # As they are, "A dog." fits both dogs alike (rank 2 for each), "A cat." the one cat.
    assert found.items["mrr"][:3].tolist() == [1.0, 1.0, 1.0] or found.items["mrr"][:3].tolist() == [0.5, 0.5, 1.0]
    assert found.items["mrr_chosen"][:3].tolist() == [1.0, 1.0, 1.0]
    assert found.numbers["relative_drop_chosen"] <= 0.0
    assert found.numbers["mrr_random"] <= found.numbers["mrr_chosen"]
    assert "3 qualities are put into 3 of 7 captions" in found.notes[0]


def test_captions_with_qualities_are_left_as_they_are():
    bench = HandBench({"image": SEEN, "text": TEXTS}, image=reading, text=reading)
    found = measure(bench, least=1)
    assert found.items["mrr"][3:].tolist() == found.items["mrr_chosen"][3:].tolist()


def test_refusals():
    bench = HandBench({"image": SEEN, "text": TEXTS}, image=reading, text=reading)
    with pytest.raises(ValueError, match="no class of qualities 'smell'"):
        measure(bench, classes=["smell"])
    bare = HandBench({"image": ["a"], "text": [["Nothing at all"]]}, image=reading, text=reading)
    with pytest.raises(ValueError, match="no thing without a quality"):
        measure(bare)
