"""The state of a run that is under way: weights, optimizer moments and position, without pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diptych.data.replacing import absolute, recover, replacement
from diptych.models.checkpoint import CheckpointError


@dataclass(frozen=True)
class Position:
    """Where a run is: the next batch to take, steps and pairs so far, seconds spent in steps."""

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    pairs: int = 0
    seconds: float = 0.0

    def after(self, epoch: int, batch: int, *, pairs: int, seconds: float) -> Position:
        """Where the run is once batch number `batch` of `epoch` is done."""
        return Position(self.phase, epoch, batch + 1, self.step + 1, self.pairs + pairs, self.seconds + seconds)


@dataclass(frozen=True)
class State:
    """What was saved."""

    position: Position
    model: dict[str, Tensor]
    objective: dict[str, Tensor]
    moments: dict[str, Tensor]

    def restore(self, objective: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give the phase's objective its own parameters back, and the optimizer its moments."""
        objective.load_state_dict(self.objective)
        if not self.moments:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for i, parameter in enumerate(parameters):
            found = {name.split(".", 1)[1]: t for name, t in self.moments.items() if name.split(".", 1)[0] == str(i)}
            optimizer.state[parameter] = {
                # In the parameter's own memory order: a fused optimizer walks both side by side.
                name: tensor.to(parameter.device) if name == "step" else torch.empty_like(parameter).copy_(tensor)
                for name, tensor in found.items()
            }


def save_state(
    folder: Path, model: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer, position: Position
) -> None:
    """Write the state; the earlier one survives until this one is whole.

    Raises:
        OSError: if it cannot be written (no space left); the earlier state is still there.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"objective.{name}": tensor for name, tensor in objective.state_dict().items()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        tensors |= {f"moments.{i}.{name}": value for name, value in optimizer.state[parameter].items()}
    with replacement(absolute(folder)) as written:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, written / "tensors.safetensors")
        (written / "position.json").write_text(json.dumps(asdict(position)))


def load_state(folder: Path) -> State | None:
    """Read the state; None if there is none.

    Raises:
        CheckpointError: if it is damaged.
    """
    recover(absolute(folder))
    if not (folder / "position.json").exists():
        return None
    try:
        position = Position(**json.loads((folder / "position.json").read_text()))
        tensors = load_file(folder / "tensors.safetensors")
    except (ValueError, TypeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); delete it to train from the start") from error
    kinds: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "moments": {}}
    for name, tensor in tensors.items():
        kind, _, own = name.partition(".")
        kinds[kind][own] = tensor
    return State(position, **kinds)
