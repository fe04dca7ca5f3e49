"""The cross-encoder against its blocks written out, head by head, with all words of every block computed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.encoders import FusionEncoder
from diptych.encoders.fusion import FusionBlock

HEADS, WIDTH = 2, 8


def attended(asks: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """`[T, D]`, `[S, D]`, `[S, D]` to `[T, D]`: one row's attention, one head and one word after another."""
    size = WIDTH // HEADS
    rows = []
    for ask in asks:
        parts = []
        for h in range(HEADS):
            own = slice(h * size, (h + 1) * size)
            likeness = torch.stack([ask[own] @ key[own] for key in keys]) / math.sqrt(size)
            share = likeness.exp() / likeness.exp().sum()
            parts.append(sum((p * value[own] for p, value in zip(share, values, strict=True)), torch.zeros(size)))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def through(block: FusionBlock, x: Tensor, places: Tensor) -> Tensor:
    """One block on the real words `[T, D]` of a text and the real tokens of an image, first and all others."""
    seen = block.norm1(x)
    told = block.told(seen)
    x = x + block.out(attended(block.ask(seen), told[:, :WIDTH], told[:, WIDTH:]))
    asked, memory = block.ask_image(block.norm2(x)), block.memory(places)
    found = attended(asked, memory[:, :WIDTH], memory[:, WIDTH:])
    x = x + block.out_image(torch.cat([found, asked * found], 1))
    return x + block.down(F.gelu(block.up(block.norm3(x))))


def test_it_is_its_blocks_written_out():
    torch.manual_seed(0)
    encoder = FusionEncoder(5, width=WIDTH, depth=2, heads=HEADS).double().eval()
    with torch.no_grad():
        for parameter in encoder.parameters():  # away from equal beginnings
            parameter += 0.3 * torch.randn_like(parameter)
    torch.set_default_dtype(torch.float64)
    try:
        text, image = torch.randn(2, 4, 5), torch.randn(2, 3, 5)
        mask = torch.tensor([[True, True, True, False], [True, False, True, True]])
        seen = torch.tensor([[True, True, True], [True, True, False]])
        with torch.no_grad():
            got = encoder(text, mask, encoder.memory(image), seen)
            for i in range(2):
                words = encoder.norm_words(encoder.words(text[i][mask[i]]))
                places = encoder.norm_places(encoder.places(image[i][seen[i]]))
                x = torch.cat([encoder.start[None], words])
                for block in encoder.blocks:
                    assert isinstance(block, FusionBlock)
                    x = through(block, x, places)
                # float64 sums of some tens of terms of order 1
                torch.testing.assert_close(got[i], encoder.logit(encoder.norm(x[0]))[0], rtol=0, atol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)


def test_it_begins_by_looking_for_what_is_alike():
    """Words and places are first read by the same maps, so a word's question is nearest to its like's key."""
    torch.manual_seed(0)
    encoder = FusionEncoder(16, width=32, depth=1, heads=1)
    tokens = torch.randn(6, 16)
    block = encoder.blocks[0]
    assert isinstance(block, FusionBlock)
    with torch.no_grad():
        asked = F.linear(encoder.norm_words(encoder.words(tokens)), block.ask_image.weight)
        keys = F.linear(encoder.norm_places(encoder.places(tokens)), block.memory.weight[:32])
    assert (asked @ keys.T).argmax(1).tolist() == list(range(6))
