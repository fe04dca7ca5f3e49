"""Lexical heads against weights worked out token by token, and what padding, top-k, gates and chunks may not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from diptych.core import Features
from diptych.data.processors import TextProcessor
from diptych.encoders import BagHead, LexicalHead, TextTransformer, WithBag, over_tokens, special_ids, words_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(rows: int = 5, length: int = 4, width: int = 6) -> Features:
    generator = seeded()
    mask = torch.arange(length) < torch.tensor([4, 1, 2, 3, 4][:rows])[:, None]
    x = torch.randn(rows, length, width, generator=generator)
    return Features(torch.randn(rows, width, generator=generator), x, mask)


def test_weights_are_those_of_the_equation_worked_out_token_by_token():
    torch.manual_seed(0)
    head, given = LexicalHead(6, 9, transform=False), features()
    got = head(given)
    assert given.tokens is not None and given.mask is not None
    for i in range(5):
        for v in range(9):
            logits = []
            for t in range(4):
                if given.mask[i, t]:
                    x = given.tokens[i, t]
                    x = (x - x.mean()) / math.sqrt(float(x.var(unbiased=False)) + 1e-5)  # a LayerNorm as it starts
                    logits.append(float(x @ head.logits.weight[v].detach() + head.logits.bias[v].detach()))
            assert float(got[i, v].detach()) == pytest.approx(math.log1p(max(0.0, *logits)), abs=1e-5)  # float32


def test_elu1p_is_positive_and_of_unit_length():
    torch.manual_seed(0)
    plain = LexicalHead(6, 9, activation="elu1p", transform=False)
    unit = LexicalHead(6, 9, activation="elu1p", transform=False, unit=True)
    unit.load_state_dict(plain.state_dict())
    weights, logits = plain(features()), LexicalHead._logits(plain, features().tokens)  # type: ignore[arg-type]
    largest = logits.masked_fill(~features().mask[..., None], -math.inf).amax(1)  # type: ignore[index]
    torch.testing.assert_close(weights, torch.where(largest > 0, largest + 1, largest.exp()))
    torch.testing.assert_close(unit(features()), F.normalize(weights, dim=1))


@pytest.mark.parametrize("activation", ["log1p_relu", "elu1p"])
def test_padding_never_matters_nor_gets_a_gradient(activation):
    torch.manual_seed(0)
    head, given = LexicalHead(6, 9, activation=activation, unit=True), features()
    assert given.tokens is not None and given.mask is not None
    more = torch.randn(5, 3, 6, generator=seeded(1)) * 50
    wide = torch.cat([torch.where(given.mask[..., None], given.tokens, 99.0), more], 1).requires_grad_()
    mask = F.pad(given.mask, (0, 3))
    got = head(Features(given.pooled, wide, mask))
    torch.testing.assert_close(got, head(given))
    got.square().sum().backward()
    assert wide.grad is not None and (wide.grad[~mask] == 0).all()


def test_a_row_without_a_real_token_is_zero_and_gives_finite_gradients():
    for activation in ("log1p_relu", "elu1p"):
        head = LexicalHead(6, 9, activation=activation, unit=True, topk=3)
        x = torch.randn(2, 3, 6, generator=seeded()).requires_grad_()
        got = head(Features(torch.zeros(2, 6), x, torch.tensor([[False] * 3, [True] * 3])))
        assert (got[0] == 0).all() and (got[1] > 0).any()
        got.sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_topk_keeps_the_largest_and_straight_through_lets_the_others_learn():
    torch.manual_seed(0)
    full = LexicalHead(6, 9, activation="elu1p")
    gradients = {}
    for straight in (False, True):
        head = LexicalHead(6, 9, activation="elu1p", topk=2, straight_through=straight)
        head.load_state_dict(full.state_dict())
        weights, got = full(features()), head(features())
        order = weights.argsort(1, descending=True)
        torch.testing.assert_close(got.gather(1, order[:, :2]), weights.gather(1, order[:, :2]))
        assert (got.gather(1, order[:, 2:]) == 0).all()
        got.sum().backward()
        gradients[straight] = head.logits.bias.grad
    full(features()).sum().backward()
    assert gradients[True] is not None and full.logits.bias.grad is not None
    torch.testing.assert_close(gradients[True], full.logits.bias.grad)
    assert (gradients[False] - gradients[True]).abs().max() > 0.1


def test_towers_without_tokens_are_one_token():
    torch.manual_seed(0)
    head, given = LexicalHead(6, 9), features()
    alone = head(Features(given.pooled))
    torch.testing.assert_close(alone, head(Features(given.pooled, given.pooled[:, None])))
    assert given.tokens is not None
    torch.testing.assert_close(LexicalHead.forward(_pooled(head), given), alone)
    with pytest.raises(ValueError, match="6 wide; this head was made for 7"):
        LexicalHead(7, 9)(given)


def _pooled(head: LexicalHead) -> LexicalHead:
    again = LexicalHead(6, 9, pooled=True)
    again.load_state_dict(head.state_dict())
    return again


def test_many_rows_in_parts_give_the_same_weights_and_gradients(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    head, outcomes = LexicalHead(6, 9), []
    for limit in (1 << 26, 2 * 4 * 9):
        monkeypatch.setattr(over_tokens, "LOGITS_AT_ONCE", limit)
        head.zero_grad()
        weights = head(features())
        weights.square().sum().backward()
        outcomes.append([weights.detach(), *(p.grad.clone() for p in head.parameters() if p.grad is not None)])
    torch.testing.assert_close(outcomes[0], outcomes[1])


def test_the_gate_keeps_the_words_of_the_text_and_no_mark():
    torch.manual_seed(0)
    tower = WithBag(TextTransformer(9, width=8, depth=1, heads=2, max_length=6), 9, ignore=(0, 1))
    ids = torch.tensor([[3, 5, 3, 1, 0, 0], [7, 1, 0, 0, 0, 0]])
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 2 + [False] * 4])
    mask[1, 2:] = False
    given = tower({"ids": ids, "mask": mask})
    head = LexicalHead(8, 9, activation="elu1p", topk=0, gate=True)
    got = head(given)
    assert [row.nonzero().flatten().tolist() for row in got] == [[3, 5], [7]]
    full = LexicalHead(8, 9, activation="elu1p")
    full.load_state_dict(head.state_dict())
    both = LexicalHead(8, 9, activation="elu1p", topk=1, gate=True)
    both.load_state_dict(head.state_dict())
    best = full(given).argmax(1)
    kept = [set(row.nonzero().flatten().tolist()) for row in both(given)]
    assert kept == [{3, 5, int(best[0])}, {7, int(best[1])}]
    root = 2**-0.5
    torch.testing.assert_close(
        BagHead(9)(given), torch.tensor([[0, 0, 0, root, 0, root, 0, 0, 0], [0.0] * 7 + [1.0, 0.0]])
    )
    with pytest.raises(ValueError, match="wrap the text tower in"):
        head(Features(given.pooled[:, :8], given.tokens, given.mask))


def test_words_are_what_the_tokens_say():
    processor = TextProcessor(300).fit(["a red dog", "a red cat", "the red dog and the cat"] * 20)
    words = words_of(processor)
    assert len(words) == 300
    ids = processor(["a red dog"])["ids"][0].tolist()
    assert [words[i] for i in ids] == ["a", "red", "dog", "[END]"]
    assert special_ids(processor) == special_ids(TextProcessor(300)) == (0, 1)
    with pytest.raises(ValueError, match="no vocabulary"):
        words_of(TextProcessor(300))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="2 words for 9 dimensions"):
        LexicalHead(6, 9, words=("a", "b"))
    for topk in (0, 10):
        with pytest.raises(ValueError, match=f"topk is {topk}"):
            LexicalHead(6, 9, topk=topk)
