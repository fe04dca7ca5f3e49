"""Embeddings with tokens of uneven number, for the tests of scorers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from diptych.core import Embedding


def tokened(rows: int, seed: int, *, length: int = 5, width: int = 4) -> Embedding:
    """Random unit tokens in float64, 1 to `length` of them real, at random places; and unit vectors of `"dense"`."""
    generator = torch.Generator().manual_seed(seed)
    tokens = F.normalize(torch.randn(rows, length, width, generator=generator, dtype=torch.float64), dim=-1)
    mask = torch.rand(rows, length, generator=generator) < 0.6
    mask[torch.arange(rows), torch.randint(length, (rows,), generator=generator)] = True
    dense = F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=-1)
    return Embedding({"dense": dense}, tokens, mask)


def padded(embedding: Embedding, more: int, seed: int, *, value: float | None = None) -> Embedding:
    """The same with `more` tokens that are not real, and garbage (or `value`) wherever nothing is real."""
    assert embedding.tokens is not None and embedding.mask is not None
    n, t, d = embedding.tokens.shape
    generator = torch.Generator().manual_seed(seed)
    garbage = 100 * torch.randn(n, t + more, d, generator=generator, dtype=torch.float64)
    if value is not None:
        garbage.fill_(value)
    mask = F.pad(embedding.mask, (0, more))
    tokens = torch.where(mask[..., None], F.pad(embedding.tokens, (0, 0, 0, more)), garbage)
    return replace(embedding, tokens=tokens, mask=mask)
