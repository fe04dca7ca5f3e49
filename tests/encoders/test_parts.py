"""Parts of an image are means over a grid, worked cell by cell; the first embedding is of the whole."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Features
from diptych.encoders import PartsProjection


@pytest.mark.parametrize(("grid", "size"), [((4, 4), 2), ((5, 5), 2), ((5, 3), 3), ((2, 3), 1)])
def test_a_part_is_the_mean_of_the_tokens_it_covers(grid: tuple[int, int], size: int):
    torch.manual_seed(0)
    head, (height, width) = PartsProjection(6, 4, size=size), grid
    tokens = torch.randn(2, height * width, 6)
    got = head(Features(torch.randn(2, 9), tokens, grid=grid))
    assert got.shape == (2, 1 + size**2, 4)
    laid = tokens.view(2, height, width, 6)
    means = [tokens.mean(1)]
    for i in range(size):
        for j in range(size):
            top, bottom = i * height // size, math.ceil((i + 1) * height / size)
            left, right = j * width // size, math.ceil((j + 1) * width / size)
            means.append(laid[:, top:bottom, left:right].mean((1, 2)))
    expected = F.normalize(head.linear(head.norm(torch.stack(means, 1))), dim=-1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)  # float32 means of up to 25 tokens


def test_towers_without_such_a_grid_are_refused():
    head = PartsProjection(6, 4, size=3)
    for features, message in (
        (Features(torch.ones(1, 6)), "gives no tokens"),
        (Features(torch.ones(1, 6), torch.ones(1, 4, 6)), "4 tokens in the grid None"),
        (Features(torch.ones(1, 6), torch.ones(1, 4, 6), grid=(2, 2)), r"4 tokens in the grid \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            head(features)
    with pytest.raises(ValueError, match="size is 0"):
        PartsProjection(6, 4, size=0)
