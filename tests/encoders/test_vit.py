"""The vision transformer, CLIP's causal text tower, and the fast CPU products they are made of, against torch.nn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.encoders import TextTransformer, VisionTransformer
from diptych.encoders.attention import self_attention
from diptych.encoders.linear import Linear
from diptych.encoders.packing import Packing
from diptych.encoders.transformer import Block, quick_gelu
from diptych.encoders.vit import _normalise_bf16

bf16 = partial(torch.autocast, "cpu", torch.bfloat16)
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def peer_of(blocks: nn.ModuleList, activation: Callable[[Tensor], Tensor]) -> nn.TransformerEncoder:
    """torch's own pre-norm layers with the weights of ours."""
    first = cast(Block, blocks[0])
    width, heads = first.norm1.weight.shape[0], first.heads
    layer = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation=activation, batch_first=True, norm_first=True
    )
    peer = nn.TransformerEncoder(layer, len(blocks), enable_nested_tensor=False)
    ours_by_theirs = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "out.",
        "linear1.": "up.",
        "linear2.": "down.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    for i, block in enumerate(blocks):
        own = block.state_dict()
        peer.layers[i].load_state_dict(
            {a + part: own[b + part] for a, b in ours_by_theirs.items() for part in ("weight", "bias")}
        )
    return peer


def tried(parameters: nn.Module) -> None:
    """Move biases and norms off their plain starting values, so that a test sees them."""
    with torch.no_grad():
        for parameter in parameters.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("embedding_norm", [False, True])
def test_a_vit_is_a_convolution_and_torchs_layers(activation: str, pooling: str, embedding_norm: bool):
    torch.manual_seed(0)
    vit = VisionTransformer(
        24,
        patch=8,
        width=32,
        depth=2,
        heads=4,
        activation=activation,  # type: ignore[arg-type]
        embedding_norm=embedding_norm,
        pooling=pooling,  # type: ignore[arg-type]
        mean=MEAN,
        std=STD,
    )
    tried(vit)
    pixels = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    normalised = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    patches = F.conv2d(normalised, vit.patches.weight.view(32, 3, 8, 8), vit.patches.bias, stride=8)
    x = patches.flatten(2).transpose(1, 2)
    if vit.first is not None:
        x = torch.cat([vit.first.expand(3, 1, 32), x], 1)
    x = x + vit.place
    if vit.norm0 is not None:
        x = F.layer_norm(x, (32,), vit.norm0.weight, vit.norm0.bias)
    gelu = F.gelu if activation == "gelu" else lambda x: x * torch.sigmoid(1.702 * x)
    expected = vit.norm(peer_of(vit.blocks, gelu)(x))
    features = vit({"pixels": pixels})
    first = int(pooling == "first")
    pooled = expected[:, 0] if first else expected.mean(1)
    torch.testing.assert_close(features.pooled, pooled, rtol=0, atol=1e-5)  # float32 sums in another order
    torch.testing.assert_close(features.tokens, expected[:, first:], rtol=0, atol=1e-5)
    assert features.grid == (3, 3)


def test_a_vit_names_images_it_has_no_places_for():
    with pytest.raises(ValueError, match=r"\(3, 16, 16\); this encoder has places for \(3, 24, 24\)"):
        VisionTransformer(24, patch=8, width=8, depth=1, heads=1)({"pixels": torch.zeros(1, 3, 16, 16)})
    with pytest.raises(ValueError, match="not a multiple of patch"):
        VisionTransformer(25, patch=8, width=8, depth=1, heads=1)


def texts(*lengths: int, vocab_size: int = 60) -> dict[str, Tensor]:
    """Random token ids of these lengths."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return {"ids": torch.randint(1, vocab_size, mask.shape), "mask": mask}


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_a_causal_text_tower_is_torchs_layers_and_needs_no_padding(activation: str):
    torch.manual_seed(0)
    text = TextTransformer(60, width=32, depth=2, heads=4, causal=True, pooling="last", activation=activation)  # type: ignore[arg-type]
    tried(text)
    inputs = texts(3, 9, 1, 9)
    # As open_clip runs it: every row at full length, padding and all, and the last real token picked out.
    padded = F.pad(inputs["ids"], (0, 11))
    gelu = F.gelu if activation == "gelu" else lambda x: x * torch.sigmoid(1.702 * x)
    x = text.token(padded) + text.place[:20]
    x = peer_of(text.blocks, gelu)(x, mask=nn.Transformer.generate_square_subsequent_mask(20))
    expected = text.norm(x)[torch.arange(4), torch.tensor([2, 8, 0, 8])]
    torch.testing.assert_close(text(inputs).pooled, expected, rtol=0, atol=1e-5)  # float32 sums in another order


def test_a_causal_token_does_not_see_what_comes_after():
    torch.manual_seed(0)
    inputs = texts(8, 8)
    changed = {**inputs, "ids": inputs["ids"].clone()}
    changed["ids"][:, 5] = 59 - changed["ids"][:, 5]
    for causal in (True, False):
        text = TextTransformer(60, width=32, depth=2, heads=4, causal=causal)
        before, after = text(inputs).tokens, text(changed).tokens
        same = torch.isclose(before, after, rtol=0, atol=1e-6).all(-1).all(0)  # float32 rounding
        assert same.tolist() == ([True] * 5 + [False] * 3 if causal else [False] * 8)


def test_causal_texts_padded_in_front_are_refused():
    text = TextTransformer(60, width=8, depth=1, heads=1, causal=True)
    with pytest.raises(ValueError, match="padded at their end only"):
        text({"ids": torch.ones(1, 2, dtype=torch.long), "mask": torch.tensor([[False, True]])})


def test_no_rows_give_no_features():
    vit = VisionTransformer(16, patch=8, width=8, depth=1, heads=2)
    text = TextTransformer(60, width=8, depth=1, heads=2)
    for precision in (nullcontext, bf16):
        with precision():
            assert vit({"pixels": torch.zeros(0, 3, 16, 16, dtype=torch.uint8)}).pooled.shape == (0, 8)
            none = {"ids": torch.zeros(0, 3, dtype=torch.long), "mask": torch.zeros(0, 3, dtype=torch.bool)}
            assert text(none).pooled.shape == (0, 8)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_bf16_linear_layer_is_exact_on_small_whole_numbers(inputs: int, outputs: int, bias: bool):
    """Whole numbers up to 256 are exact in bf16, so products and sums of small ones have one right answer."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int) -> Tensor:
        return torch.randint(-2, 3, shape, generator=generator).float()

    layer = Linear(inputs, outputs, bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(whole(*parameter.shape))
    x, dy = whole(2, 7, inputs).requires_grad_(), whole(2, 7, outputs)
    expected = F.linear(x, layer.weight, layer.bias)
    leaves = [x, *layer.parameters()]
    gradients = torch.autograd.grad(expected, leaves, dy)
    with bf16():
        y = layer(x)
    assert y.dtype == torch.bfloat16 and torch.equal(y.float(), expected)
    for got, wanted in zip(torch.autograd.grad(y, leaves, dy.bfloat16()), gradients, strict=True):
        assert got.dtype == torch.float32 and torch.equal(got, wanted)


def test_a_linear_layer_starts_as_torchs_and_takes_no_other_random_numbers():
    torch.manual_seed(3)
    ours = Linear(4, 6), torch.rand(1)
    torch.manual_seed(3)
    peer = nn.Linear(4, 6), torch.rand(1)
    assert torch.equal(ours[0].weight, peer[0].weight) and torch.equal(ours[1], peer[1])


@pytest.mark.parametrize("kind", ["all", "mask", "causal"])
def test_bf16_attention_is_torchs_with_gradients(kind: str):
    torch.manual_seed(0)
    mask = torch.arange(9)[None] < torch.tensor([4, 9, 7])[:, None] if kind == "mask" else None
    qkv, dy = torch.randn(3, 9, 3 * 32).bfloat16(), torch.randn(3, 9, 32).bfloat16()
    exact = qkv.float().requires_grad_()
    q, k, v = exact.view(3, 9, 3, 4, 8).permute(2, 0, 3, 1, 4)
    look = None if mask is None else mask[:, None, None]
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=look, is_causal=kind == "causal")
    expected = y.transpose(1, 2).reshape(3, 9, 32)
    (gradient,) = torch.autograd.grad(expected, exact, dy.float())
    rounded = qkv.requires_grad_()
    with bf16():
        got = self_attention(rounded, 4, mask=mask, causal=kind == "causal")
    (own,) = torch.autograd.grad(got, rounded, dy)
    # A rounding to bf16 is off by 2^-8 at most, by less on average: there are three on the way there, five back.
    assert off(got, expected) < 3 * 2**-9 and off(own, gradient) < 5 * 2**-9


def off(got: Tensor, expected: Tensor) -> float:
    """How far off, relative to the size of the whole."""
    return float((got.detach().float() - expected.detach()).norm() / expected.detach().norm())


def test_bf16_gradients_of_a_block_are_as_near_to_float32_as_plain_autocasts():
    torch.manual_seed(0)
    block = Block(64, 4, activation="quick_gelu")
    x, dy = torch.randn(6, 10, 64), torch.randn(6, 10, 64)
    peer = peer_of(nn.ModuleList([block]), lambda x: x * torch.sigmoid(1.702 * x))

    def gradients(module: nn.Module, precision: Callable) -> dict[tuple[int, ...], Tensor]:
        module.zero_grad()
        with precision():
            y = module(x)
        y.backward(dy.to(y.dtype))
        return {tuple(p.shape): p.grad.clone() for p in module.parameters() if p.dim() == 2}  # type: ignore[union-attr]

    exact, ours, theirs = gradients(block, nullcontext), gradients(block, bf16), gradients(peer, bf16)
    for shape, gradient in exact.items():
        assert off(ours[shape], gradient) < 1.2 * off(theirs[shape], gradient) + 2**-10  # half a rounding of luck


def test_bf16_pixels_are_rounded_twice():
    vit = VisionTransformer(8, patch=8, width=8, depth=1, heads=1, mean=MEAN, std=STD)
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16).contiguous()
    exact = vit.normalise(pixels)
    # Each rounding to eight bits is off by 2^-8 at most, of the value or, near zero, of the 0.008 added last.
    allowed = 2.01 * 2**-8 * (exact.abs() + 0.008)
    assert ((_normalise_bf16(pixels, vit.normalise).float() - exact).abs() <= allowed).all()


def test_quick_gelu_is_its_formula():
    x = torch.linspace(-6, 6, 99, dtype=torch.float64)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))


def test_packing_takes_gradients_back_to_where_tokens_came_from():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.randn(2, 3, 2, requires_grad=True)
    packing = Packing(mask)
    weights = torch.randn(2, 3, 2)
    (packing.unpack(packing.pack(x) * 3) * weights).sum().backward()
    assert torch.equal(x.grad, 3 * weights * mask[..., None])  # type: ignore[arg-type]
