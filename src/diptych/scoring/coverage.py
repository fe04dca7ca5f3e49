"""Choose a few that together say most: greedy selection under a coverage function.

    f(S) = sum_j weight(j) max(0, max_{i in S} similarity(i, j))

A second choice like the first adds nothing. f is monotone and submodular, so taking whatever adds most, again and
again, reaches at least 1 - 1/e = 63% of the best choice of that size. Use it to pick queries out of many extracted
phrases, sentences out of a text, or examples out of a collection.

Sources: Nemhauser et al. 1978 (the bound); Lin and Bilmes 2011 (such functions for summaries).
"""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_coverage(similarity: Tensor, size: int, *, weight: Tensor | None = None) -> Tensor:
    """The chosen rows, in the order in which they were taken.

    Args:
        similarity: `[N, M]`: how well each of N that can be chosen covers each of M; below 0 counts as 0.
        size: how many to choose; fewer are, once no other adds anything.
        weight: `[M]`, at least 0: how much each of M counts; all 1 if None.

    Returns:
        `[at most size]` int64; of equals the first.

    Raises:
        ValueError: if similarity is not a finite matrix, `size` below 1, or weights are not `[M]` and at least 0.

    Example:
        >>> greedy_coverage(torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 0.5]]), 2)
        tensor([0, 2])
    """
    if similarity.dim() != 2 or not bool(similarity.isfinite().all()) or size < 1:
        raise ValueError(f"similarity is {tuple(similarity.shape)} and size {size}; expected finite [N, M], at least 1")
    counts = torch.ones(similarity.shape[1]).to(similarity) if weight is None else weight.to(similarity)
    if counts.shape != similarity.shape[1:] or not bool((counts >= 0).all()):
        raise ValueError(f"weights are {tuple(counts.shape)}; expected [{similarity.shape[1]}], none below 0")
    covered = torch.zeros_like(counts)
    chosen: list[int] = []
    while len(chosen) < min(size, len(similarity)):
        gains = (similarity - covered).clamp(min=0) @ counts
        best = int(gains.argmax())
        if not float(gains[best]) > 0:
            break
        chosen.append(best)
        covered = torch.maximum(covered, similarity[best])
    return torch.tensor(chosen, dtype=torch.long, device=similarity.device)
