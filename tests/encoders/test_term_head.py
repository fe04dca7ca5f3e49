"""The learned vocabulary: its weights by hand, how many are kept, what may be shared."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diptych.core.configuration import build, describe
from diptych.core.embedding import Features
from diptych.data.processors import TextProcessor
from diptych.encoders import (
    Codebook,
    LexicalHead,
    Projection,
    TermHead,
    WordCodebook,
    WordHead,
    term_names,
    words_of,
)


def head(*, topk: int = 2) -> TermHead:
    torch.manual_seed(0)
    return TermHead(Projection(6, 4), Codebook(5, 4), topk=topk)


def test_weights_are_those_of_the_formula():
    own, x = head(), torch.randn(3, 6)
    with torch.no_grad():
        own.bias.copy_(torch.tensor([0.5, -0.5, 0.0, 0.1, -0.2]))
        h = own.projection(Features(x))
        y = (10 * h @ F.normalize(own.codebook.codes, dim=-1).T - own.bias).clamp(min=0)
        wanted = torch.zeros_like(y)
        for row, best in enumerate(y.argsort(descending=True)[:, :2]):
            wanted[row, best] = y[row, best]
        torch.testing.assert_close(own(Features(x)), F.normalize(wanted, dim=1))


def test_no_row_has_more_terms_than_it_may_and_dropped_ones_get_no_gradient():
    own = head(topk=3)
    weights = own(Features(torch.randn(20, 6)))
    assert int((weights > 0).sum(1).max()) <= 3 and float(weights.min()) == 0
    weights[:, 0].sum().backward()
    assert own.bias.grad is not None
    never = ~(weights > 0).any(0)
    assert bool((own.bias.grad[never] == 0).all())


def test_the_dense_head_may_be_its_projection_and_learns_with_it():
    dense = Projection(6, 4)
    own = TermHead(dense, Codebook(5, 4), topk=2)
    assert {id(p) for p in dense.parameters()} <= {id(p) for p in own.parameters()}
    rebuilt = build(describe(own))
    assert isinstance(rebuilt, TermHead) and isinstance(rebuilt.projection, nn.Module)
    assert float(own.log_scale) == pytest.approx(math.log(10.0))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="topk is 6"):
        head(topk=6)
    with pytest.raises(ValueError, match="scale is 0"):
        TermHead(Projection(6, 4), Codebook(5, 4), topk=2, scale=0)


def test_terms_have_no_names_where_words_have_theirs():
    processor = TextProcessor(300, max_length=9)
    processor.fit(["a red circle"])
    words = ("red", "dog", "sky")
    assert term_names(head(), processor) == ()
    assert term_names(WordHead(6, WordCodebook(3, 4, words=words)), processor) == words
    assert term_names(LexicalHead(6, 300), processor) == words_of(processor)
