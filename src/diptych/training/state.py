"""The states of a run that is under way: weights, moments, teacher and position, without pickle; the last few kept.

RUN/states/00000120/     after step 120: tensors.safetensors, position.json
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diptych.core.teacher import Teacher
from diptych.data.replacing import absolute, replacement
from diptych.models.checkpoint import CheckpointError, separate
from diptych.training.processes import from_first
from diptych.training.sharding import like, load_whole, whole, whole_state

NOTES = logging.getLogger("diptych")


@dataclass(frozen=True)
class Position:
    """Where a run is: the next batch to take; steps, pairs and seconds so far.

    Attributes:
        waited: those of the seconds that were spent waiting for data.
        shard: of a stream, where to go on reading; 0 in a table.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    shard: int = 0


@dataclass(frozen=True)
class State:
    """What was saved: tensors by kind ("model", "objective", "moments", "teacher") and name."""

    position: Position
    guard: dict[str, Any]
    tensors: Mapping[str, dict[str, Tensor]]

    def restore(self, objective: nn.Module, optimizer: torch.optim.Optimizer, teacher: Teacher | None) -> None:
        """Give the phase's objective and teacher what was theirs, and the optimizer its moments."""
        load_whole(objective, self.tensors["objective"])
        if teacher is not None:
            teacher.restore(self.tensors["teacher"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors["moments"].items():
            number, _, own = name.partition(".")
            moments.setdefault(int(number), {})[own] = tensor
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for i, own in moments.items():
            # In the parameter's own memory order: a fused optimizer walks both side by side.
            optimizer.state[parameters[i]] = {
                name: tensor.to(parameters[i].device) if name == "step" else like(parameters[i].detach(), tensor)
                for name, tensor in own.items()
            }


def save_state(
    run: Path,
    model: nn.Module,
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    teacher: Teacher | None,
    position: Position,
    guard: dict[str, Any],
    *,
    keep: int = 2,
) -> None:
    """Write the state after a step, whole or not at all; of the older ones `keep - 1` stay. Every process must call.

    Raises:
        OSError: if it cannot be written (no space left); the earlier states are still there.
    """
    tensors = {f"model.{name}": tensor for name, tensor in whole_state(model).items()}
    tensors |= {f"objective.{name}": tensor for name, tensor in whole_state(objective).items()}
    if teacher is not None:
        tensors |= {f"teacher.{name}": whole(tensor) for name, tensor in teacher.kept_state().items()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        tensors |= {f"moments.{i}.{name}": whole(value) for name, value in optimizer.state[parameter].items()}

    def write() -> None:
        with replacement(absolute(run / "states" / f"{position.step:08d}")) as written:
            save_file(separate(tensors), written / "tensors.safetensors")
            (written / "position.json").write_text(json.dumps({"position": asdict(position), "guard": guard}))
        for old in saved_states(run)[keep:]:
            shutil.rmtree(old, ignore_errors=True)

    from_first(write)


def saved_states(run: Path) -> list[Path]:
    """The states of a run, newest first."""
    return sorted((path.parent for path in run.glob("states/[0-9]*/position.json")), reverse=True)


def load_state(run: Path) -> State | None:
    """Read the newest state that is whole; None if there is none. A damaged one is passed over with a note.

    Raises:
        CheckpointError: if there are states and all are damaged.
    """
    damage: list[str] = []
    for folder in saved_states(run):
        try:
            state = _read(folder)
        except (ValueError, TypeError, KeyError, OSError, SafetensorError) as error:
            damage.append(f"{folder} is damaged ({error})")
            continue
        for line in damage:
            NOTES.warning("%s; going on from step %d instead", line, state.position.step)
        return state
    if damage:
        raise CheckpointError("; ".join(damage) + "; give --overwrite to train from the start")
    return None


def _read(folder: Path) -> State:
    content = json.loads((folder / "position.json").read_text())
    kinds: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "moments": {}, "teacher": {}}
    for name, tensor in load_file(folder / "tensors.safetensors").items():
        kind, _, own = name.partition(".")
        kinds[kind][own] = tensor
    return State(Position(**content["position"]), content["guard"], kinds)
