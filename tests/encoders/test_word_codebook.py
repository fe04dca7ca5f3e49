"""The head over a frozen codebook against its equation, what training may move, and words that mean themselves."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Features
from diptych.core.configuration import build, describe
from diptych.encoders import WordCodebook, WordHead


def codebook(words: int = 9, width: int = 6) -> WordCodebook:
    vectors = torch.randn(words, width, generator=torch.Generator().manual_seed(0))
    return WordCodebook(words, width, words=[f"w{v}" for v in range(words)]).fill(3 * vectors + 5)


def features(width: int = 4) -> Features:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(3) < torch.tensor([3, 1, 2])[:, None]
    return Features(torch.randn(3, width, generator=generator), torch.randn(3, 3, width, generator=generator), mask)


def test_the_codebook_is_centred_and_of_unit_length():
    book = codebook()
    given = 3 * torch.randn(9, 6, generator=torch.Generator().manual_seed(0)) + 5
    for v in range(9):
        centred = given[v] - sum(given) / 9
        torch.testing.assert_close(book.vectors[v], centred / centred.norm())


def test_weights_are_those_of_the_equation_worked_out_token_by_token():
    torch.manual_seed(0)
    head, given = WordHead(4, codebook(), hidden=5, scale=7.0, near=0.2), features()
    got = head(given).detach()
    assert given.tokens is not None and given.mask is not None
    for i in range(3):
        weights = []
        for v in range(9):
            cosines = []
            for t in range(3):
                if given.mask[i, t]:
                    h = head.mlp(given.tokens[i, t]).detach()
                    cosines.append(float(h @ head.codebook.vectors[v] / h.norm()))
            weights.append(math.log1p(max(0.0, 7 * (max(cosines) - 0.2))))
        expected = torch.tensor(weights) / max(sum(w * w for w in weights) ** 0.5, 1e-12)
        torch.testing.assert_close(got[i], expected, atol=1e-5, rtol=0)  # float32
    assert (got == 0).any() and (got > 0).any()


def test_a_word_read_by_features_as_wide_as_the_codebook_starts_with_itself():
    book = codebook(40, 16)
    head = WordHead(16, book, pooled=True)
    weights = head(Features(book.vectors))
    assert torch.equal(weights.argmax(1), torch.arange(40))
    wider = WordHead(20, book, pooled=True)
    assert not torch.equal(wider(Features(F.pad(book.vectors, (0, 4)))).argmax(1), torch.arange(40))


def test_training_moves_all_but_the_words():
    book = codebook()
    heads = torch.nn.ModuleList([WordHead(4, book), WordHead(6, book, pooled=True)])
    assert not any("vectors" in name for name, _ in heads.named_parameters())
    before = book.vectors.clone()
    optimizer = torch.optim.SGD(heads.parameters(), lr=1.0)
    (heads[0](features()).sum() + heads[1](features(6)).sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in heads[0].parameters())
    optimizer.step()
    assert torch.equal(book.vectors, before) and heads[0].codebook is heads[1].codebook


def test_a_description_and_weights_build_it_again():
    torch.manual_seed(0)
    head = WordHead(4, codebook(), near=0.0)
    again = build(describe(head))
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(features()), head(features())) and list(again.codebook.words) == list(head.codebook.words)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="2 words for 3 vectors"):
        WordCodebook(3, 4, words=["a", "b"])
    with pytest.raises(ValueError, match=r"\(3, 4\) for 3 words, got \(3, 5\)"):
        WordCodebook(3, 4).fill(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="near is 1"):
        WordHead(4, codebook(), near=1.0)
