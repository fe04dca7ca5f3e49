"""What the step says to other processes: gather rows, sum tensors. With one process, nothing."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> tuple[int, int]:
    """(rank, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def all_sum(x: Tensor) -> Tensor:
    """Sum over processes, in place."""
    if world()[1] > 1:
        dist.all_reduce(x)
    return x


def all_most(value: int) -> int:
    """The largest value over processes."""
    if world()[1] == 1:
        return value
    most = torch.tensor(value)
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def gather_rows(x: Tensor) -> tuple[Tensor, slice]:
    """Rows of all processes in rank order, and where one's own lie. Counts may differ, and may be 0."""
    rank, size = world()
    if size == 1:
        return x, slice(0, len(x))
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    lengths = [int(count) for count in counts]
    padded = x.new_zeros((max(lengths), *x.shape[1:]))
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    start = sum(lengths[:rank])
    return torch.cat([part[:n] for part, n in zip(parts, lengths, strict=True)]), slice(start, start + lengths[rank])
