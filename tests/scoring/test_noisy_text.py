"""The matcher of spoilt texts against a Mahalanobis cosine worked out pair by pair, and what fitting it is good for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.scoring import NoisyText


def pairs(rows: int, seed: int) -> tuple[Embedding, Embedding]:
    """Clean vectors, and readings that are moved far along 3 of 24 directions."""
    generator = torch.Generator().manual_seed(seed)
    clean = F.normalize(torch.randn(rows, 24, generator=generator), dim=1)
    directions = torch.linalg.qr(torch.randn(24, 3, generator=torch.Generator().manual_seed(99))).Q
    moved = clean + 1.5 * torch.randn(rows, 3, generator=generator) @ directions.T
    return Embedding({"dense": clean}), Embedding({"dense": moved + 0.05 * torch.randn(rows, 24, generator=generator)})


def test_scores_are_those_of_the_equation():
    clean, read = pairs(50, 0)
    scorer = NoisyText(24, ridge=0.1).fit(clean, read)
    c, n = (F.normalize(x.dense.double(), dim=1) for x in (clean, read))
    noise = sum((torch.outer(a - b, a - b) for a, b in zip(n, c, strict=True)), torch.zeros(24, 24).double()) / 50
    inverse = torch.linalg.inv(noise + 0.1 * noise.trace() / 24 * torch.eye(24).double())
    middle = (c.sum(0) + n.sum(0)) / 100

    def inner(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - middle) @ inverse @ (b - middle))

    scores = scorer(read, clean)
    for i, j in ((0, 0), (3, 7), (49, 2)):
        expected = inner(n[i], c[j]) / (inner(n[i], n[i]) * inner(c[j], c[j])) ** 0.5
        assert float(scores[i, j]) == pytest.approx(expected, abs=1e-4)  # float32 of a matrix of condition 100
    torch.testing.assert_close(scorer.pairs(read, clean), scores.diagonal())


def test_readings_find_their_texts_once_it_is_fitted_on_others():
    clean, read = pairs(300, 1)
    right = torch.arange(300)
    plain, fitted = NoisyText(24), NoisyText(24).fit(*pairs(200, 2))
    torch.testing.assert_close(plain(read, clean), F.normalize(read.dense, dim=1) @ clean.dense.T)
    before, after = (int((scorer(read, clean).argmax(1) == right).sum()) for scorer in (plain, fitted))
    assert before < 150 and after > 270


def test_mistakes_are_named():
    clean, read = pairs(5, 0)
    for given, message in ((None, "readings none"), (read[:4], r"readings \(4, 24\)"), (clean, "no reading differs")):
        with pytest.raises(ValueError, match=message):
            NoisyText(24).fit(clean, given)
    with pytest.raises(ValueError, match=r"expected \[n, 8\]"):
        NoisyText(8).fit(clean, read)
    with pytest.raises(ValueError, match="ridge is 0"):
        NoisyText(8, ridge=0)
