"""Described mixes where there is a description and only there; Weighted is a sum; both fit a cascade."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.core.configuration import build, describe
from diptych.scoring import Cascade, Described, Dot, Weighted

EXACT = {"rtol": 0, "atol": 1e-12}  # float64, of numbers of order 1


def rows(n: int, seed: int, *spaces: str) -> Embedding:
    generator = torch.Generator().manual_seed(seed)
    return Embedding(
        {s: F.normalize(torch.randn(n, 5, generator=generator, dtype=torch.float64), dim=-1) for s in spaces}
    )


def mixed(e: Embedding, weight: float) -> np.ndarray:
    x = (1 - weight) * e.vectors["dense"].numpy() + weight * e.vectors["description"].numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_it_is_the_cosine_of_the_mixture_on_the_side_that_has_descriptions(weight: float):
    image, other, text = rows(4, 0, "dense", "description"), rows(6, 1, "dense", "description"), rows(3, 2, "dense")
    scorer = Described(weight, scale=2.0)
    one = torch.from_numpy(2 * mixed(image, weight) @ text.dense.numpy().T)
    torch.testing.assert_close(scorer(image, text), one, **EXACT)
    torch.testing.assert_close(scorer(text, image), one.T, **EXACT)
    both = torch.from_numpy(2 * mixed(image, weight) @ mixed(other, weight).T)
    torch.testing.assert_close(scorer(image, other), both, **EXACT)
    torch.testing.assert_close(scorer.pairs(image, other[:4]), both[:, :4].diagonal(), **EXACT)
    torch.testing.assert_close(scorer.mixed(text), text.dense, **EXACT)


def test_a_weighted_sum_by_hand_and_again_from_its_description():
    a, b = rows(3, 0, "dense", "attributes"), rows(4, 1, "dense", "attributes")
    scorer = Weighted([Dot(1.0), Dot(1.0, space="attributes")], [0.25, 2.0])
    expected = 0.25 * a.dense @ b.dense.T + 2 * a.vectors["attributes"] @ b.vectors["attributes"].T
    torch.testing.assert_close(scorer(a, b), expected, rtol=1e-6, atol=1e-6)  # scales are kept in float32
    torch.testing.assert_close(scorer.pairs(a, b[:3]), expected[:, :3].diagonal(), rtol=1e-6, atol=1e-6)
    assert torch.equal(build(describe(scorer))(a, b), scorer(a, b))


def test_the_best_few_are_ranked_again_by_attributes():
    first = Embedding({"dense": torch.tensor([[1.0, 0.0]]), "attributes": torch.tensor([[0.0, 1.0]])})
    gallery = Embedding(
        {
            "dense": F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.3], [-1.0, 0.0]]), dim=-1),
            "attributes": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]),
        }
    )
    scorer = Cascade(Described(0.5), Weighted([Described(0.5), Dot(1.0, space="attributes")], [1.0, 1.0]), depth=2)
    assert scorer(first, gallery).argsort(1, descending=True).tolist() == [[1, 0, 2]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"weight is 1.5"):
        Described(1.5)
    with pytest.raises(ValueError, match="scale is 0"):
        Described(scale=0)
    wrong = Embedding({"dense": torch.ones(1, 3), "description": torch.ones(1, 4)})
    with pytest.raises(ValueError, match="one embedding space"):
        Described()(wrong, wrong)
    with pytest.raises(ValueError, match="2 scorers and 1 weights"):
        Weighted([Dot(), Dot()], [1.0])
