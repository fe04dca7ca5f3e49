"""Greedy coverage against every choice there is."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from diptych.scoring import greedy_coverage


def covered(similarity: torch.Tensor, chosen: tuple[int, ...], weight: torch.Tensor) -> float:
    return sum(float(weight[j]) * max(0.0, *(float(similarity[i, j]) for i in chosen)) for j in range(len(weight)))


@pytest.mark.parametrize("seed", range(5))
def test_it_reaches_its_bound_and_each_step_takes_the_most(seed: int):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    weight = torch.rand(12, generator=generator, dtype=torch.float64)
    chosen = greedy_coverage(similarity, 3, weight=weight).tolist()
    best = max(covered(similarity, some, weight) for some in combinations(range(8), 3))
    assert len(set(chosen)) == 3 and covered(similarity, tuple(chosen), weight) >= (1 - 1 / 2.71828) * best
    for step in range(3):
        gains = [covered(similarity, (*chosen[:step], i), weight) for i in range(8)]
        assert gains[chosen[step]] == pytest.approx(max(gains), abs=1e-12)  # float64


def test_the_like_of_what_is_chosen_adds_nothing():
    same = torch.ones(4, 3)
    assert greedy_coverage(same, 3).tolist() == [0]
    assert greedy_coverage(-same, 3).tolist() == []
    assert greedy_coverage(torch.eye(3), 5, weight=torch.tensor([1.0, 3.0, 2.0])).tolist() == [1, 2, 0]


def test_mistakes_are_named():
    for wrong in (torch.zeros(3), torch.tensor([[float("inf")]])):
        with pytest.raises(ValueError, match=r"expected finite \[N, M\]"):
            greedy_coverage(wrong, 1)
    with pytest.raises(ValueError, match="size 0"):
        greedy_coverage(torch.eye(2), 0)
    with pytest.raises(ValueError, match=r"expected \[2\], none below 0"):
        greedy_coverage(torch.eye(2), 1, weight=torch.tensor([1.0, -1.0]))
