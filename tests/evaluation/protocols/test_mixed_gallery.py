"""One gallery of three kinds: by hand where all fit, where a gap keeps kinds apart, and where a caption contradicts."""

from __future__ import annotations

import math

import pytest
import torch
from hand_bench import HandBench, bag

from diptych.core.embedding import Embedding
from diptych.evaluation.protocols.mixed_gallery import measure, together

WORDS = ["red", "blue", "green", "cat", "dog", "bird"]
TEXTS = [["A red cat.", "red cat red"], ["A blue dog.", "blue dog blue"], ["A green bird.", "green bird green"]]


def concept(text: str) -> torch.Tensor:
    return torch.tensor([float(word in text.lower()) for word in WORDS])


def bench(**more: list) -> HandBench:
    return HandBench(
        {"image": ["red cat", "blue dog", "green bird"], "text": TEXTS, **more}, image=concept, text=concept
    )


def test_where_all_fit_every_query_is_answered_at_the_top():
    found = measure(bench(), k=3, contradictions=False)
    assert found.numbers["ndcg@3_text"] == pytest.approx(1.0)  # its three documents are the first three
    assert found.numbers["ndcg@3_image"] == pytest.approx(1.0) and found.numbers["ndcg@3"] == pytest.approx(
        1.0, abs=0.2
    )
    assert [found.numbers[f"first_{kind}"] for kind in ("image", "text", "both")] == pytest.approx([1 / 3] * 3)
    assert "9 documents" in found.notes[0]


def test_a_gap_puts_the_own_kind_first():
    def far(value: str) -> torch.Tensor:
        return torch.cat([0.2 * concept(value), torch.tensor([1.0, 0.0])])

    def near(value: str) -> torch.Tensor:
        return torch.cat([0.2 * concept(value), torch.tensor([0.0, 1.0])])

    given = HandBench({"image": ["red cat", "blue dog", "green bird"], "text": TEXTS}, image=far, text=near)
    found = measure(given, k=3, contradictions=False)
    # A text finds the three texts first: of its three right documents one, at the top.
    assert found.numbers["first_text"] == 1.0 and found.numbers["first_image"] == 0.0
    best = 1 + 1 / math.log2(3) + 1 / 2
    assert found.numbers["ndcg@3_text"] == pytest.approx(1 / best)
    # A picture finds pictures and mixed documents before its caption.
    assert found.numbers["ndcg@3_image"] == 0.0


def test_domains():
    found = measure(bench(field=["one", "one", "two"]), k=3, domain="field", contradictions=False)
    assert {"ndcg@3_of_one", "ndcg@3_of_two"} <= found.numbers.keys()
    both = (2 * found.numbers["ndcg@3_of_one"] + found.numbers["ndcg@3_of_two"]) / 3
    assert both == pytest.approx(found.numbers["ndcg@3"])


def test_contradiction():
    texts = [
        ["A red cat on a mat.", "The cat is red."],
        ["A blue cat on a mat.", "The cat is blue."],
        ["A red dog.", "A red dog."],
        ["A blue dog.", "A blue dog."],
    ]
    words = ["red", "blue", "cat", "dog", "on", "under", "next"]
    given = HandBench(
        {"image": ["red cat on", "blue cat on", "red dog", "blue dog"], "text": texts},
        image=bag(words),
        text=lambda text: bag(words)(text.rstrip(".")),
    )
    found = measure(given, k=2)
    assert found.chance["contradiction_accuracy"] == pytest.approx(0.5)
    assert 0.0 <= found.numbers["contradiction_accuracy"] <= 1.0
    assert len(found.items["contradiction_accuracy"]) <= 2  # the dogs have one caption twice, and are left out
    said = HandBench({"image": ["a", "b"], "text": [["?", "!"], ["1", "2"]]}, image=bag(["a"]), text=bag(["a"]))
    assert "no rule of" in measure(said).notes[1]


def test_together_is_of_unit_length_and_between_the_two():
    one, other = Embedding({"dense": torch.tensor([[1.0, 0.0]])}), Embedding({"dense": torch.tensor([[0.0, 1.0]])})
    assert torch.allclose(together(one, other).dense, torch.full((1, 2), 0.5**0.5))


def test_refusals():
    with pytest.raises(ValueError, match="1 of 2 pictures have two unlike texts"):
        measure(HandBench({"image": ["a", "b"], "text": [["x", "y"], ["x"]]}, image=bag(["a"]), text=bag(["a"])))
