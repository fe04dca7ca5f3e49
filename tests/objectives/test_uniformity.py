"""Alignment and uniformity by NumPy from the papers' formulas, and what they do that a contrast does not."""

from __future__ import annotations

import cases
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding, Objective, Pairing
from diptych.objectives import Alignment, InfoNCE, Uniformity
from diptych.scoring import Dot


def test_alignment_is_the_mean_squared_distance_of_positives():
    example = cases.fresh(Alignment)
    image, text = (example.embeddings[view].dense.detach().numpy() for view in ("image", "text"))
    keys = {view: [set(row) - {-1} for row in own.tolist()] for view, own in example.keys.items()}
    expected = 0.0
    for i, own in enumerate(keys["image"]):
        apart = [((image[i] - text[j]) ** 2).sum() for j, other in enumerate(keys["text"]) if own & other]
        expected += float(np.mean(apart)) if apart else 0.0
    assert example.objective(cases.pairing(example)).item() == pytest.approx(expected)


@pytest.mark.parametrize("b", [None, "text"])
def test_uniformity_is_the_log_of_the_mean_potential_of_pairs_without_a_common_key(b: str | None):
    example = cases.fresh(Uniformity)
    x, y = (example.embeddings[view].dense.detach().numpy() for view in ("image", b or "image"))
    keys = [[set(row) - {-1} for row in example.keys[view].tolist()] for view in ("image", b or "image")]
    potentials = [
        np.exp(-2 * ((x[i] - y[j]) ** 2).sum())
        for i, own in enumerate(keys[0])
        for j, other in enumerate(keys[1])
        if not own & other and (b or i != j)
    ]
    value = Uniformity("image", b)(cases.pairing(example)) / len(x)
    assert value.item() == pytest.approx(np.log(np.mean(potentials)))


def test_rows_that_all_share_a_key_have_nothing_to_be_spread_from():
    vectors = F.normalize(torch.randn(3, 4), dim=1).requires_grad_()
    keys = {"image": torch.zeros(3, 1, dtype=torch.int64)}
    shown = Pairing(
        {"image": Embedding({"dense": vectors})}, {"image": slice(0, 3)}, keys, {"image": torch.arange(3)}, {}
    )
    value = Uniformity("image")(shown)
    value.backward()
    assert value == 0 and vectors.grad is not None and not vectors.grad.any()


def test_two_cones_that_a_contrast_is_content_with_are_brought_together():
    """Pairs that match in two cones: InfoNCE at a high scale is near 0, yet alignment and uniformity pull."""
    angle = torch.linspace(0, 2 * torch.pi, 9)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    up, down = (F.normalize(torch.cat([ring, torch.full((8, 1), height)], 1), dim=1) for height in (2.0, -2.0))
    at = {"image": torch.arange(8)[:, None], "text": torch.arange(8)[:, None]}
    items, rows = {"image": torch.arange(8), "text": torch.arange(8)}, {"image": slice(0, 8), "text": slice(0, 8)}

    def gap(objective: Objective, steps: int = 200) -> float:
        image, text = up.clone().requires_grad_(), down.clone().requires_grad_()
        for _ in range(steps):
            shown = {v: Embedding({"dense": F.normalize(x, dim=1)}) for v, x in (("image", image), ("text", text))}
            pairing = Pairing(shown, rows, at, items, {"dot": Dot(100.0)})
            loss = torch.stack([weight * term(pairing) for weight, term in objective.terms()]).sum()
            for leaf, pull in zip((image, text), torch.autograd.grad(loss, (image, text)), strict=True):
                leaf.data -= 0.05 * pull
        means = [F.normalize(x, dim=1).mean(0) for x in (image, text)]
        return (means[0] - means[1]).norm().item()

    before = (up.mean(0) - down.mean(0)).norm().item()
    assert gap(InfoNCE()) > 0.9 * before
    assert gap(InfoNCE() + Alignment() + Uniformity("image")) < 0.1 * before
