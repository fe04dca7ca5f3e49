"""Within and across by hand: the query is not in its gallery, and the gain is the difference."""

from __future__ import annotations

import pytest
import torch
from hand_bench import HandBench

import diptych.evaluation.protocols.modality_inversion as protocol
from diptych.core.embedding import Embedding
from diptych.evaluation.modality_inversion import Inverted

AXES = {"a": [1.0, 0.0, 0.0], "b": [0.9, 0.1, 0.0], "c": [0.0, 1.0, 0.0], "d": [0.0, 0.0, 1.0]}


def bench() -> HandBench:
    rows = {
        "image": ["a", "b", "c", "d"],
        "label": ["one", "two", "one", None],
        "text": [["a", "c"], ["b"], ["d"], ["c"]],
    }
    return HandBench(rows, image=AXES.__getitem__, text=AXES.__getitem__)


def test_by_hand(monkeypatch: pytest.MonkeyPatch):
    def turned(model: None, targets: torch.Tensor, *, descent: object) -> Inverted:
        # Both queries are turned to the second axis, where c lies, and next b.
        vectors = torch.tensor([[0.0, 1.0, 0.0]]).expand(len(targets), -1)
        return Inverted(Embedding({"dense": vectors}), torch.ones(len(targets)), [1.0, 0.5])

    monkeypatch.setattr(protocol, "to_text", turned)
    found = protocol.measure(bench(), texts=False)
    # Of class "one" are a and c. Within: both find b first; then c, or a, ties with d at 0, and a tie is lost.
    assert found.items["i2i_map_intra"].tolist() == pytest.approx([1 / 3, 1 / 3])
    # Across: for a, c comes first (1); for c, b comes before a and d, which tie.
    assert found.items["i2i_map_inter"].tolist() == pytest.approx([1.0, 1 / 3])
    assert found.numbers["i2i_gain"] == pytest.approx(2 / 3 - 1 / 3)
    assert found.curves["i2i: 1 - cosine"].points == [(0, 1.0), (1, 0.5)]


def test_texts_of_one_picture_are_right(monkeypatch: pytest.MonkeyPatch):
    same = lambda model, targets, *, descent: Inverted(Embedding({"dense": targets}), torch.ones(len(targets)), [0.0])  # noqa: E731
    monkeypatch.setattr(protocol, "to_image", same)
    found = protocol.measure(bench(), label=None)
    # Texts a and c are of the first picture. To a, b is first, then three tie at 0, of which c is put last; to c, its
    # like of another picture and b come first, and a and d tie.
    assert found.items["t2t_map_intra"].tolist() == pytest.approx([1 / 4, 1 / 4])
    assert found.numbers["t2t_gain"] == 0.0 and "i2i_gain" not in found.numbers


def test_refusals():
    with pytest.raises(ValueError, match="nothing to measure"):
        protocol.measure(bench(), label=None, texts=False)
    lone = HandBench({"image": ["a"], "label": ["one"], "text": [["a"]]}, image=AXES.__getitem__, text=AXES.__getitem__)
    with pytest.raises(ValueError, match="nothing can be found"):
        protocol.measure(lone)
