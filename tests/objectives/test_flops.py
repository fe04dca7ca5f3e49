"""FLOPS and the overuse penalty against loops over words, and what they do to a small model's weights."""

from __future__ import annotations

import pytest
import torch

from diptych.core import Embedding, Features, Pairing
from diptych.encoders import LexicalHead
from diptych.objectives import FLOPS, InfoNCE, Overuse
from diptych.scoring import Lexical


def pairing_of(weights: torch.Tensor, rows: slice | None = None) -> Pairing:
    return Pairing({"image": Embedding({"lexical": weights})}, {"image": rows or slice(0, len(weights))}, {}, {}, {})


WEIGHTS = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])


def test_by_hand():
    # Means of the words: 2, 0, 1. FLOPS: 4 + 0 + 1 = 5. Overuse: 3 * (8 + 1) / (2 + 1) = 9. Sums over 2 rows.
    assert float(FLOPS()(pairing_of(WEIGHTS))) == pytest.approx(2 * 5)
    assert float(Overuse()(pairing_of(WEIGHTS))) == pytest.approx(2 * 9)
    # The first row's share: 1 * 2 + 2 * 1 = 4, and 3 * (1 * 4 + 2 * 1) / 3 = 6.
    assert float(FLOPS()(pairing_of(WEIGHTS, slice(0, 1)))) == pytest.approx(4)
    assert float(Overuse()(pairing_of(WEIGHTS, slice(0, 1)))) == pytest.approx(6)


@pytest.mark.parametrize("objective", [FLOPS(), Overuse()], ids=["flops", "overuse"])
def test_its_gradient_is_that_of_the_whole_batchs_formula(objective):
    weights = torch.rand(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for v in range(5):
        mean = sum(weights[i, v] for i in range(6)) / 6
        total = total + (mean**2 if isinstance(objective, FLOPS) else mean**3)
    if isinstance(objective, Overuse):
        total = 5 * total / sum(weights[i, v] / 6 for i in range(6) for v in range(5))
    (expected,) = torch.autograd.grad(total, weights)  # type: ignore[arg-type]
    mean_of_sum = objective(pairing_of(weights)) / 6
    (got,) = torch.autograd.grad(mean_of_sum, weights)
    torch.testing.assert_close(got, expected)
    assert float(mean_of_sum.detach()) == pytest.approx(float(total.detach()), rel=1e-12)  # float64


def test_unit_rows_cost_1_where_words_are_used_evenly_and_v_where_all_use_one():
    even = torch.full((4, 9), 1 / 3)
    one = torch.zeros(4, 9)
    one[:, 2] = 1
    assert float(Overuse()(pairing_of(even))) / 4 == pytest.approx(1, rel=1e-6)
    assert float(Overuse()(pairing_of(one))) / 4 == pytest.approx(9, rel=1e-6)


def nonzero_after(penalty: type, weight: float) -> tuple[float, float]:
    """Words a row after training two heads on pairs of noisy features, and how many rows find their partner."""
    torch.manual_seed(0)
    heads = [LexicalHead(16, 64, transform=False, unit=True) for _ in range(2)]
    scorer = Lexical(10.0)
    optimizer = torch.optim.Adam([p for module in [*heads, scorer] for p in module.parameters()], lr=1e-2)
    objective = InfoNCE(scorer="lexical") + weight * penalty("image") + weight * penalty("text")
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(48, 16, generator=generator)
    rows, keys = torch.arange(48), torch.arange(48)[:, None]
    said = {}
    for _ in range(120):
        for view, head in zip(("image", "text"), heads, strict=True):
            noisy = base + 0.3 * torch.randn(48, 16, generator=generator)
            said[view] = Embedding({"lexical": head(Features(noisy))})
        cut = {"image": slice(0, 48), "text": slice(0, 48)}
        pairing = Pairing(said, cut, dict.fromkeys(cut, keys), dict.fromkeys(cut, rows), {"lexical": scorer})
        loss = sum(w * term(pairing) / (96 if isinstance(term, InfoNCE) else 48) for w, term in objective.terms())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
    words = float(torch.stack([(e.vectors["lexical"] > 0).float().sum(1).mean() for e in said.values()]).mean())
    found = scorer(said["image"], said["text"]).argmax(1) == rows
    return words, float(found.float().mean())


@pytest.mark.parametrize("penalty", [FLOPS, Overuse])
def test_rows_become_sparser_the_more_it_weighs_and_still_find_their_partners(penalty):
    (none, found), (some, _), (much, still) = (nonzero_after(penalty, weight) for weight in (0.0, 0.3, 3.0))
    assert none > 1.2 * some > 1.2 * 1.2 * much
    assert found == 1 and still > 0.9
