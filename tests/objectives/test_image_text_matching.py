"""ImageTextMatching against pairs asked one by one; negatives are drawn by likeness and never share a key."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Embedding, Pairing
from diptych.objectives import ImageTextMatching
from diptych.scoring import Dot

KEYS = {"image": torch.tensor([[0], [1], [2]]), "text": torch.tensor([[0], [1], [1]])}
ITEMS = {"image": torch.arange(3), "text": torch.tensor([0, 1, 2])}


class Asked(nn.Module):
    """Remembers which pairs it was asked for, by the first number of their vectors; its logits are their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs_asked: list[tuple[int, int]] = []

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        self.pairs_asked += list(
            zip(a.vectors["n"][:, 0].int().tolist(), b.vectors["n"][:, 0].int().tolist(), strict=True)
        )
        return (a.vectors["n"] + 10 * b.vectors["n"])[:, 0] / 7


def asked_of(shown: Pairing) -> list[tuple[int, int]]:
    """The pairs that were asked, (text, image)."""
    part = shown.parts["matching"]
    assert isinstance(part, Asked)
    return part.pairs_asked


def pairing(seed: int, scale: float = 5.0) -> Pairing:
    generator = torch.Generator().manual_seed(0)
    everything = {
        view: Embedding(
            {
                "dense": F.normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=-1),
                "n": torch.arange(3, dtype=torch.float64)[:, None],
            }
        )
        for view in ("image", "text")
    }
    rows = {view: slice(0, 3) for view in everything}
    parts = {"dot": Dot(scale).double(), "matching": Asked()}
    return Pairing(everything, rows, KEYS, ITEMS, parts, seed=seed)


def test_it_is_the_binary_cross_entropy_of_the_pairs_asked():
    shown = pairing(1)
    loss = float(ImageTextMatching()(shown))
    asked = asked_of(shown)
    assert asked[:3] == [(0, 0), (1, 1), (2, 2)] and len(asked) == 9
    logits = torch.tensor([(t + 10 * i) / 7 for t, i in asked], dtype=torch.float64)
    expected = -torch.log(torch.sigmoid(logits[:3])).sum() - torch.log(1 - torch.sigmoid(logits[3:])).sum()
    assert loss == pytest.approx(float(expected), rel=1e-12)


def test_what_shares_a_key_is_never_wrong_and_the_rest_comes_as_often_as_its_likeness_says():
    drawn: Counter[tuple[str, int, int]] = Counter()
    draws = 3000
    for seed in range(draws):
        shown = pairing(seed)
        ImageTextMatching()(shown)
        asked = asked_of(shown)
        drawn.update([("text", *pair) for pair in asked[3:6]])
        drawn.update([("image", i, t) for t, i in asked[6:]])
    shown = pairing(0)
    positive = {"text": torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 0]]).bool()}
    positive["image"] = positive["text"].T
    for anchor, other in (("text", "image"), ("image", "text")):
        scores = shown.parts["dot"](shown.all[anchor], shown.all[other]).detach()
        expected = scores.masked_fill(positive[anchor], -torch.inf).softmax(1)
        for i in range(3):
            for j in range(3):
                # The error of a share of 3,000 draws is below 0.01; 0.04 is four of them and more.
                assert drawn[(anchor, i, j)] / draws == pytest.approx(float(expected[i, j]), abs=0.04)
                if positive[anchor][i, j]:
                    assert not drawn[(anchor, i, j)]


def test_rows_without_partner_or_without_a_wrong_one_are_left_out():
    shown = pairing(1)
    same = replace(shown, keys={view: torch.zeros(3, 1, dtype=torch.long) for view in shown.keys})
    ImageTextMatching()(same)
    assert asked_of(same) == [(0, 0), (1, 1), (2, 2)]
    strangers = replace(pairing(1), items={**ITEMS, "text": torch.tensor([7, 8, 9])})
    ImageTextMatching()(strangers)
    assert len(asked_of(strangers)) == 6


def test_nothing_goes_back_into_the_drawing():
    shown = pairing(1)
    leaves = {view: e.map(lambda x: x.clone().requires_grad_()) for view, e in shown.all.items()}
    ImageTextMatching()(replace(shown, all=leaves)).backward()
    assert all(e.dense.grad is None or not e.dense.grad.any() for e in leaves.values())
    assert shown.parts["dot"].log_scale.grad is None
