"""Objectives of codes, against numbers by hand and NumPy's correlations; and what they do to bits in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.core import Embedding, Objective, Pairing
from diptych.objectives import AnchoredCodes, BitBalance, BitDecorrelation, LabelSimilarity, Quantization
from diptych.objectives.label_similarity import label_cosine


def seen(codes: Tensor, rows: slice | None = None) -> Pairing:
    return Pairing({"image": Embedding({"code": codes})}, {"image": rows or slice(0, len(codes))}, {}, {}, {})


def random_codes(rows: int, bits: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, bits, generator=torch.Generator().manual_seed(seed)).tanh()


def test_quantization_by_hand():
    codes = torch.tensor([[0.5, -1.0], [1.0, -0.25]])
    # a row's mean of squared distances from the nearest sign: (0.25 + 0) / 2 and (0 + 0.5625) / 2
    assert float(Quantization()(seen(codes))) == pytest.approx(0.125 + 0.28125)
    assert float(Quantization()(seen(codes, slice(1, 2)))) == pytest.approx(0.28125)
    assert float(Quantization()(seen(codes.sign()))) == 0


def test_balance_is_the_squared_mean_of_the_bits():
    codes = random_codes(20, 5)
    expected = float((np.asarray(codes).mean(0) ** 2).mean())
    assert float(BitBalance()(seen(codes))) / 20 == pytest.approx(expected, rel=1e-5)  # float32
    assert float(BitBalance()(seen(torch.ones(8, 3)))) / 8 == 1  # bits that are the same for all rows
    assert float(BitBalance()(seen(torch.tensor([[1.0, -1], [-1, 1]])))) == 0


def test_decorrelation_is_the_squared_correlation_of_balanced_bits():
    half = np.random.default_rng(0).choice([-1.0, 1.0], (30, 6))
    codes = np.concatenate([half, -half])  # every bit has mean 0 and variance 1
    correlations = np.corrcoef(codes.T)[~np.eye(6, dtype=bool)]
    got = float(BitDecorrelation()(seen(torch.from_numpy(codes)))) / 60
    assert got == pytest.approx((correlations**2).mean(), abs=1e-12)  # float64
    same = torch.tensor([[1.0, 1.0], [-1, -1]])
    assert float(BitDecorrelation()(seen(same))) / 2 == 1


@pytest.mark.parametrize(
    ("objective", "before", "after"),
    [(BitBalance(), 0.5, 0.01), (BitDecorrelation(), 0.5, 0.05), (Quantization(), 0.4, 0.05)],
)
def test_training_brings_it_down(objective: Objective, before: float, after: float):
    """Descent on logits that start as bad as can be: bits mostly set, alike, and near 0."""
    generator = torch.Generator().manual_seed(0)
    logits = {
        "bit_balance/image": torch.randn(64, 8, generator=generator) + 2,
        "bit_decorrelation/image": 5 * torch.randn(64, 1, generator=generator)
        + 0.1 * torch.randn(64, 8, generator=generator),
        "quantization/image": 0.3 * torch.randn(64, 8, generator=generator),
    }[objective.name].requires_grad_()
    optimizer, losses = torch.optim.Adam([logits], lr=0.1), []
    for _ in range(60):
        loss = objective(seen(logits.tanh())) / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > before and losses[-1] < after


def test_labels_are_compared_by_their_cosine():
    a = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]])
    b = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
    expected = [[2**-0.5, 2 / 8**0.5, 0], [0, 0, 0]]
    np.testing.assert_allclose(label_cosine(a, b), expected, atol=1e-6)  # float32
    with pytest.raises(ValueError, match=r"\[2, 4\] and \[3, 3\].*same L labels"):
        label_cosine(a, b[:, :3])


def by_hand(mine: Tensor, others: Tensor, own: Tensor, theirs: Tensor) -> list[float]:
    """The loss of every row, by loops."""
    rows = []
    for h, left in zip(mine.tolist(), own.tolist(), strict=True):
        total = 0.0
        for b, right in zip(others.tolist(), theirs.tolist(), strict=True):
            lengths = (sum(left) * sum(right)) ** 0.5
            alike = sum(x * y for x, y in zip(left, right, strict=True)) / lengths if lengths else 0.0
            total += (alike - sum(x * y for x, y in zip(h, b, strict=True)) / len(h)) ** 2
        rows.append(total / len(others))
    return rows


def labels(rows: int, seed: int) -> Tensor:
    return (torch.rand(rows, 4, generator=torch.Generator().manual_seed(seed)) < 0.5).long()


def test_label_similarity_by_loops_and_shared_keys_are_alike():
    image, text, own, theirs = random_codes(5, 8), random_codes(7, 8, 1), labels(5, 2), labels(7, 3)
    keys = {"image": torch.arange(5)[:, None], "text": 100 + torch.arange(7)[:, None]}
    pairing = Pairing(
        {"image": Embedding({"code": image}), "text": Embedding({"code": text})},
        {"image": slice(1, 4), "text": slice(0, 7)},
        keys,
        {},
        {},
        extra={"image/labels": own, "text/labels": theirs},
    )
    expected = by_hand(image, text, own, theirs)
    assert float(LabelSimilarity()(pairing)) == pytest.approx(sum(expected[1:4]), rel=1e-5)  # float32
    paired = replace(pairing, keys={**keys, "text": torch.tensor([[2], *[[100]] * 6])})
    agreement, cosine = float(image[2] @ text[0]) / 8, float(label_cosine(own[2:3].float(), theirs[:1].float()))
    change = ((1 - agreement) ** 2 - (cosine - agreement) ** 2) / 7
    assert float(LabelSimilarity()(paired)) == pytest.approx(sum(expected[1:4]) + change, rel=1e-5)


def taught(new: Tensor, old: Tensor, own: Tensor, theirs: Tensor, rows: slice) -> Pairing:
    n = len(new)
    known = {
        "code": torch.cat([torch.zeros(n, old.shape[1]), old]),
        "labels": torch.cat([torch.zeros(n, own.shape[1]), theirs.float()]),
    }
    teacher = Pairing({"image": Embedding(known)}, {"image": rows}, {}, {}, {})
    pairing = seen(new, rows)
    return replace(pairing, extra={"image/labels": own}, teacher=teacher)


def test_anchored_codes_by_loops():
    new, old, own, theirs = random_codes(5, 8), random_codes(6, 8, 1).sign(), labels(5, 2), labels(6, 3)
    got = AnchoredCodes()(taught(new, old, own, theirs, slice(1, 5)))
    assert float(got) == pytest.approx(sum(by_hand(new, old, own, theirs)[1:5]), rel=1e-5)  # float32
    nothing = AnchoredCodes()(taught(new, old[:0], own, theirs[:0], slice(1, 5)))
    assert float(nothing) == 0
    with pytest.raises(ValueError, match="new codes have 8 bits and old ones 4"):
        AnchoredCodes()(taught(new, old[:, :4], own, theirs, slice(0, 5)))


def test_a_new_row_moves_to_the_old_code_of_its_label_and_away_from_no_other_but_halfway():
    old = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1, 1], [1, -1, 1, -1, 1, -1, 1, -1]])
    own, theirs = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[1, 0], [0, 1]])
    logits = (0.1 * random_codes(2, 8)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        AnchoredCodes()(taught(logits.tanh(), old, own, theirs, slice(0, 2))).backward()
        optimizer.step()
    agreement = logits.detach().sign() @ old.T / 8
    np.testing.assert_array_equal(agreement, [[0, 1], [1, 0]])
