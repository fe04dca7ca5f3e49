"""Fewer tokens a row, for storage: tokens that are alike become their mean.

Ward's hierarchical clustering of each row's tokens, down to 1 / factor of them: of all pairs of clusters, those two
become one whose union spreads least about its mean,

    cost(a, b) = n_a n_b / (n_a + n_b) * |mean_a - mean_b|^2

and so on. The paper finds that half the tokens (factor 2) do as well as all, and a third nearly so; the model is
not trained for it. Pool the gallery that is stored, not the queries, whose tokens cost nothing to keep.

Source: Clavié, Chaffin & Adams 2024, arXiv 2409.14683; the clustering is Ward's (1963).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding, pad_tokens
from diptych.scoring.late_interaction import tokens_of


def pool_tokens(embedding: Embedding, factor: float, *, rows: int = 256) -> Embedding:
    """The same rows with a part of their tokens.

    Args:
        embedding: with tokens `[N, T, D]` of unit length.
        factor: a row of n real tokens keeps ceil(n / factor) clusters of them; at least 1.
        rows: clustered at a time, in memory of `rows * T * T`.

    Returns:
        Tokens `[N, T', D]`, the clusters' means at unit length, real ones first, and their mask; no grid.
        Vectors of other spaces are as they were. Carries no gradient.

    Raises:
        ValueError: if `factor` is below 1 or there are no tokens.

    Example:
        >>> tokens = F.normalize(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]]), dim=-1)
        >>> pool_tokens(Embedding({}, tokens), 2).tokens.shape
        torch.Size([1, 2, 2])
    """
    if factor < 1:
        raise ValueError(f"factor is {factor}; it must be at least 1, which keeps all tokens")
    tokens, mask = tokens_of(embedding)
    parts = [_pooled(tokens[i : i + rows].detach(), mask[i : i + rows], factor) for i in range(0, len(tokens), rows)]
    longest = max((part.shape[1] for part, _ in parts), default=0)
    if not parts:
        return replace(embedding, tokens=tokens[:, :0], mask=mask[:, :0], grid=None)
    pooled = torch.cat([pad_tokens(part, longest) for part, _ in parts])
    return replace(embedding, tokens=pooled, mask=torch.cat([pad_tokens(m, longest) for _, m in parts]), grid=None)


def _pooled(means: Tensor, alive: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    n, t, _ = means.shape
    wanted = torch.ceil(alive.sum(1) / factor - 1e-9)  # 3 of 6 for a factor of 2.0000001 too
    each = torch.arange(n, device=means.device)
    alive, size = alive.clone(), alive.to(means.dtype)
    cost = torch.stack([_costs(means, size, alive, torch.full_like(each, i)) for i in range(t)], 1)  # [N, T, T]
    for _ in range(int((alive.sum(1) - wanted).clamp(min=0).max()) if n and t else 0):
        at = cost.flatten(1).argmin(1)
        i, j = at // t, at % t
        merges = alive.sum(1) > wanted
        both = size[each, i] + size[each, j]
        mean = (means[each, i] * size[each, i, None] + means[each, j] * size[each, j, None]) / both[:, None].clamp(
            min=1
        )
        means = means.index_put((each[merges], i[merges]), mean[merges])
        size[each[merges], i[merges]] = both[merges]
        alive[each[merges], j[merges]] = False
        row = _costs(means, size, alive, i)
        row[~alive[each, i]] = torch.inf
        cost[each, i], cost[each, :, i] = row, row
        cost.masked_fill_(~alive[:, None], torch.inf).masked_fill_(~alive[:, :, None], torch.inf)
    order = (~alive).to(torch.int8).argsort(dim=1, stable=True)  # the living first, in the order of their first tokens
    kept = int(alive.sum(1).max()) if n else 0
    order = order[:, :kept]
    return F.normalize(means, dim=-1).gather(1, order[..., None].expand(-1, -1, means.shape[2])), alive.gather(1, order)


def _costs(means: Tensor, size: Tensor, alive: Tensor, i: Tensor) -> Tensor:
    """What joining cluster `i[n]` of each row to each of the others costs: `[N, T]`; infinite where there is none."""
    each = torch.arange(len(means), device=means.device)
    apart = (means - means[each, i][:, None]).square().sum(-1)
    mine = size[each, i][:, None]
    cost = apart * size * mine / (size + mine).clamp(min=1)
    other = alive & alive[each, i][:, None]
    other[each, i] = False
    return cost.masked_fill(~other, torch.inf)
