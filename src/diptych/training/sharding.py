"""Towers that do not fit one device: their parameters sharded over processes (FSDP2), through `accelerate launch`.

Heads, parts and objectives are small and stay whole. Every process runs the same number of forward passes, which
the step sees to.
Source: Zhao et al. 2023, PyTorch FSDP, arXiv 2304.11277; `fully_shard` shards each block, then the tower's rest.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from diptych.core.model import Model
from diptych.training.optimizer import is_sharded


def sharded(model: Model, device: torch.device) -> Model:
    """A copy of the model on `device` whose towers are sharded over all processes; the given one stays whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    working = copy.deepcopy(model).to(device).to(memory_format=torch.contiguous_format)  # FSDP takes no other
    for tower in working.towers.values():
        for block in getattr(tower, "blocks", ()):
            if _size(block) > _size(tower) / 100:  # a message for every small norm would cost more than it saves
                fully_shard(block, mesh=mesh)
        fully_shard(tower, mesh=mesh)
    return working


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all processes (which must all ask), detached, on the CPU."""
    full = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full.detach().cpu()


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with sharded parts made whole; every process must ask."""
    return {name: whole(tensor) for name, tensor in module.state_dict().items()}


def load_whole(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a module, sharded or not, the values of a whole state.

    Raises:
        RuntimeError: if names or shapes are not the module's own.
    """
    own = module.state_dict()
    module.load_state_dict({name: like(own[name], value) if name in own else value for name, value in state.items()})


def like(own: Tensor, value: Tensor) -> Tensor:
    """`value` on the device and, where it is sharded, in the shards of `own`, in its own memory order."""
    if not is_sharded(own):
        return torch.empty_like(own).copy_(value)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)  # type: ignore[attr-defined]
