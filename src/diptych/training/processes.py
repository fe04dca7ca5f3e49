"""What the step says to other processes: gather rows, sum tensors. With one process, nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from diptych.core.embedding import pad_tokens

T = TypeVar("T")
BUCKET = 1 << 24
"""Elements of gradients that are summed in one message."""


def join_processes() -> None:
    """Join the processes that `accelerate launch` or `torchrun` started beside this one, if any did.

    They wait for each other as long as it takes: decoding a large collection may take the first one hours.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=7))])


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
    most = torch.tensor(value, device=_wire())
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def all_counts(count: int) -> list[int]:
    """The number of rows of every process, in rank order."""
    if world()[1] == 1:
        return [count]
    counts = torch.zeros(world()[1], dtype=torch.long, device=_wire())
    dist.all_gather_into_tensor(counts, torch.tensor([count], device=_wire()))
    return counts.tolist()


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, on every process. The others wait; an error of the first is raised on all.

    Raises:
        RuntimeError: on the other processes, if `make` failed on the first.
    """
    if world()[1] == 1:
        return make()
    said: list[object] = [None, None]
    failure: BaseException | None = None
    if world()[0] == 0:
        try:
            said[0] = make()
        except BaseException as error:
            failure, said[1] = error, f"{type(error).__name__}: {error}"
    dist.broadcast_object_list(said, src=0)
    if failure is not None:
        raise failure
    if said[1] is not None:
        raise RuntimeError(f"the first process stopped: {said[1]}")
    return cast(T, said[0])


def first_alone(make: Callable[[], T]) -> T:
    """Each process makes its own, the first one before the others: they find what it stored."""
    rank, size = world()
    if size == 1:
        return make()
    if rank > 0:
        dist.barrier()
    try:
        return make()
    finally:
        if rank == 0:
            dist.barrier()


def wait_for_all() -> None:
    """Go on when every process is here."""
    if world()[1] > 1:
        dist.barrier()


def broadcast(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if world()[1] > 1:
        for tensor in module.state_dict().values():
            on_wire = tensor.to(_wire())
            dist.broadcast(on_wire, src=0)
            tensor.copy_(on_wire)


def gather_rows(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes in rank order.

    Args:
        x: this process's rows.
        counts: of rows of every process, as `all_counts` gives them; some may be 0.
    """
    if len(counts) == 1:
        return x
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[: len(x)] = x
    if x.dtype == torch.bool:  # gloo sends no bools
        return gather_rows(x.to(torch.uint8), counts).bool()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


def gather_sequences(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Like `gather_rows`, for `[N, T, ...]` whose T differs among processes: padded with zeros to the longest."""
    return gather_rows(pad_tokens(x, all_most(x.shape[1])), counts)


def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum `.grad` over processes; one that no process touched stays None.

    Sharded parameters (FSDP2) are reduced in their own backward, as a mean: they are multiplied by the number of
    processes instead.
    """
    _, size = world()
    if size == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    sharded = [parameter for parameter in trained if hasattr(parameter, "full_tensor")]
    for parameter in sharded:
        if parameter.grad is not None:
            parameter.grad.mul_(size)
    whole = [parameter for parameter in trained if not hasattr(parameter, "full_tensor")]
    touched = all_sum(torch.tensor([parameter.grad is not None for parameter in whole], device=_wire()).int()).tolist()
    gradients = []
    for parameter, count in zip(whole, touched, strict=True):
        if count:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = all_sum(torch.cat([gradient.reshape(-1) for gradient in bucket]))
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Gradients of one kind, about `BUCKET` elements together."""
    open_buckets: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for gradient in gradients:
        bucket = open_buckets.setdefault((gradient.dtype, gradient.device), [])
        bucket.append(gradient)
        if sum(each.numel() for each in bucket) >= BUCKET:
            yield open_buckets.pop((gradient.dtype, gradient.device))
    yield from open_buckets.values()


def _wire() -> torch.device:
    """Where small messages must lie: NCCL sends only what is on the GPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
