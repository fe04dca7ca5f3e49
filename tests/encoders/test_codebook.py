"""Sparsemax against a search for its threshold and against finite differences; the codebook head built on it."""

from __future__ import annotations

import pytest
import torch

from diptych.core import Features
from diptych.encoders import Codebook, CodebookHead
from diptych.encoders.sparsemax import sparsemax


def by_bisection(scores: torch.Tensor) -> torch.Tensor:
    """The simplex's nearest point, its threshold found by halving instead of by sorting."""
    low, high = scores.amax(-1, keepdim=True) - 1, scores.amax(-1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        over = (scores - middle).clamp(min=0).sum(-1, keepdim=True) > 1
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    return (scores - low).clamp(min=0)


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
def test_sparsemax_is_the_nearest_point_of_the_simplex(spread: float):
    scores = spread * torch.randn(40, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(sparsemax(scores), by_bisection(scores), atol=1e-12, rtol=0)  # 80 halvings, float64


def test_sparsemax_by_hand():
    scores = torch.tensor([[3.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1e6, 1e6, 0.0]])
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(sparsemax(scores), expected)


def test_its_gradient_is_that_of_finite_differences():
    # No score of these rows is nearer than 1e-3 to its row's threshold, where sparsemax has a kink.
    scores = 2 * torch.randn(6, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    tau = (scores - by_bisection(scores)).where(by_bisection(scores) > 0, -torch.inf).amax(1, keepdim=True)
    assert float((scores - tau).abs().min()) > 1e-3
    assert torch.autograd.gradcheck(sparsemax, (scores.requires_grad_(),), eps=1e-6)


def heads() -> tuple[CodebookHead, CodebookHead]:
    torch.manual_seed(0)
    book = Codebook(12, 5)
    return CodebookHead(6, book), CodebookHead(4, book)


def test_an_embedding_is_the_mixture_of_codes_that_its_weights_say():
    head = heads()[0]
    x = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(4) < torch.tensor([4, 2, 1])[:, None]
    weights, got = head.weights(Features(x[:, 0], x, mask)), head(Features(x[:, 0], x, mask))
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    assert (weights >= 0).all() and (weights == 0).any()
    queries, codes = head.query(x), head.codebook.codes
    for i, row in enumerate(mask):
        scores = torch.stack([queries[i, t] @ codes.T for t in range(4) if row[t]]).amax(0) / 5**0.5
        torch.testing.assert_close(weights[i], by_bisection(scores), atol=1e-5, rtol=0)  # float32
        mixed = (weights[i][:, None] * codes).sum(0)
        torch.testing.assert_close(got[i], mixed / mixed.norm())


def test_padding_never_matters_and_a_row_of_nothing_else_is_finite():
    head = heads()[0]
    x = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(4) < torch.tensor([4, 2, 0])[:, None]
    other = torch.where(mask[..., None], x, 100 * x.flip(0)).requires_grad_()
    torch.testing.assert_close(head(Features(x[:, 0], x, mask)), head(Features(x[:, 0], other, mask)))
    head(Features(x[:, 0], other, mask)).square()[:, 0].sum().backward()
    assert other.grad is not None and (other.grad[~mask] == 0).all()
    assert head.codebook.codes.grad is not None and head.codebook.codes.grad.isfinite().all()


def test_both_heads_train_one_codebook():
    image, text = heads()
    both = torch.nn.ModuleDict({"image": image, "text": text})
    assert sum(name.endswith("codes") for name, _ in both.named_parameters()) == 1
    text(Features(torch.randn(3, 4))).sum().backward()
    assert image.codebook.codes.grad is not None and float(image.codebook.codes.grad.abs().sum()) > 0
