"""Heads for tokens fit towers of any token width, and give unit vectors."""

from __future__ import annotations

import pytest
import torch

from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.encoders import TokenProjection, UnitLength
from diptych.models import Towers, add_token_heads, dual_encoder, share_token_heads

SMALL = Towers(image_size=32, width=8, vocab_size=300, widths=(16, 24), depths=(1, 1), text_width=32, text_depth=1)


def test_a_models_tokens_are_its_towers_tokens_projected():
    torch.manual_seed(0)
    model = add_token_heads(dual_encoder(SMALL, parts={}), 12).eval()
    pixels = {"pixels": torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)}
    words = {"ids": torch.randint(0, 300, (3, 5)), "mask": torch.arange(5)[None] < torch.tensor([[5], [2], [1]])}
    image, text = model.encode("image", pixels), model.encode("text", words)
    assert image.tokens is not None and image.grid == (2, 2) and image.tokens.shape == (3, 4, 12)
    assert text.tokens is not None and text.mask is not None and text.tokens.shape == (3, 5, 12)
    assert torch.equal(text.mask, words["mask"]) and set(text.vectors) == {"dense"}
    for tokens in (image.tokens, text.tokens[text.mask]):
        # float32 sums of 12 squares
        torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(tokens.shape[:-1]), rtol=0, atol=1e-5)
    alone = model.encode("text", {name: x[1:2, :2] for name, x in words.items()})
    assert alone.tokens is not None
    torch.testing.assert_close(alone.tokens[0], text.tokens[1, :2], rtol=0, atol=1e-5)  # padding has no say


def test_without_its_norm_a_projection_is_a_linear_map_to_the_sphere():
    head = TokenProjection(2, 2, layer_norm=False)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tokens = torch.tensor([[[1.5, 4.0]]], dtype=torch.bfloat16)  # as a store of features gives them
    assert head(Features(torch.zeros(1, 9), tokens))[0, 0].tolist() == pytest.approx([0.6, 0.8])


def test_a_tower_without_tokens_is_named():
    class Pooled(torch.nn.Module):
        def forward(self, inputs: dict) -> Features:
            return Features(torch.zeros(len(inputs["pixels"]), 4))

    model = dual_encoder(SMALL, parts={})
    model = Model({"image": Pooled()}, {"image": {"dense": UnitLength(4)}}, {}, {"image": model.processors["image"]})
    with pytest.raises(ValueError, match="the tower of 'image' gives no tokens"):
        add_token_heads(model, 8, views=["image"])
    with pytest.raises(ValueError, match="gives no tokens"):
        TokenProjection(4, 4)(Features(torch.zeros(1, 4)))


def test_shared_heads_are_the_dense_ones_on_each_token_and_learn_together():
    torch.manual_seed(0)
    model = share_token_heads(dual_encoder(SMALL, parts={}))
    words = {"ids": torch.randint(0, 300, (2, 4)), "mask": torch.ones(2, 4, dtype=torch.bool)}
    features = model.features("text", words)
    assert features.tokens is not None
    dense, tokens = (model.heads["text"][space] for space in ("dense", "tokens"))  # type: ignore[index]
    # A token in the place of the pooled features.
    torch.testing.assert_close(tokens(features)[:, 1], dense(Features(features.tokens[:, 1])), rtol=0, atol=1e-6)
    tokens(features).sum().backward()
    assert dense.linear.weight.grad is tokens.linear.weight.grad is not None
    image = model.heads["image"]["tokens"]  # type: ignore[index]
    assert isinstance(image, TokenProjection)  # of tokens narrower than the pooled features: weights of its own
    assert image.features == 24 and image.linear is not model.heads["image"]["dense"].linear  # type: ignore[index]
