"""Checkpoints that describe themselves: `model.json`, `model.safetensors`, and reference vectors.

    model.json           class and arguments of every tower, head, part and processor; the fingerprint
    model.safetensors    the weights
    reference.safetensors  inputs of each view and the vectors they gave; checked on load

No code is run from a checkpoint and no pickle is read. The fingerprint names the weights and the
description, so that an index can refuse vectors of another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych.core.configuration import ConfigurationError, build, describe
from diptych.core.model import Model, Route
from diptych.data.replacing import absolute, recover, replacement
from diptych.models.modes import evaluating

FORMAT = 1


class CheckpointError(ValueError):
    """A folder is not a whole checkpoint, or does not give the vectors that it gave when it was saved."""


def describe_model(model: Model) -> dict[str, Any]:
    """Class and arguments of everything in the model, as JSON."""
    return {
        "towers": {name: describe(tower) for name, tower in model.towers.items()},
        "heads": {
            tower: {space: describe(head) for space, head in heads.items()}  # type: ignore[union-attr, operator]
            for tower, heads in model.heads.items()
        },
        "parts": {name: describe(part) for name, part in model.parts.items()},
        "processors": {name: describe(processor) for name, processor in model.processors.items()},
        "frozen": [
            name for name, tower in model.towers.items() if not any(p.requires_grad for p in tower.parameters())
        ],
        "routes": {view: {"tower": r.tower, "reads": list(r.reads)} for view, r in model.routes.items()},
    }


def fingerprint(model: Model) -> str:
    """32 hex digits that name this model's description and weights; which towers are frozen is no part of it."""
    about = {name: value for name, value in describe_model(model).items() if name != "frozen"}
    digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save(model: Model, folder: str | Path, *, reference: Mapping[str, Mapping[str, Tensor]], note: Any = None) -> str:
    """Write a checkpoint; an earlier one in `folder` survives until the new one is whole.

    Args:
        model: to save; its processors must be fitted.
        folder: where; made if needed.
        reference: view -> a few rows of inputs, kept with the vectors they give now.
        note: JSON-able, kept in `model.json` (how it was trained).

    Returns:
        The fingerprint.
    """
    name = fingerprint(model)
    tensors = separate(model.state_dict())
    content = {"format": FORMAT, "fingerprint": name, "model": describe_model(model), "note": note}
    with replacement(absolute(folder)) as written:
        save_file(tensors, written / "model.safetensors")
        save_file(_reference(model, reference), written / "reference.safetensors")
        (written / "model.json").write_text(json.dumps(content, indent=1, ensure_ascii=False))
    return name


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each in memory of its own, as `safetensors` wants them: tied weights are kept twice."""
    out, seen = {}, set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        out[name] = own.clone() if place in seen else own
        seen.add(place)
    return out


def load(folder: str | Path, *, check: bool = True) -> Model:
    """Build the model of a checkpoint, in eval mode on the CPU.

    Args:
        folder: as `save` wrote it.
        check: encode the reference inputs and compare.

    Raises:
        CheckpointError: if the folder is no checkpoint, a file is damaged, or the reference vectors differ.
    """
    folder = absolute(folder)
    recover(folder)
    content = read_description(folder)
    parts = content["model"]
    try:
        model = Model(
            *(build(parts[name]) for name in ("towers", "heads", "parts", "processors")),
            routes={view: Route(r["tower"], tuple(r.get("reads", ()))) for view, r in parts["routes"].items()},
        )
        weights = load_file(folder / "model.safetensors")
    except (ConfigurationError, SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / 'model.safetensors'} does not fit its description: {error}") from error
    for name in parts["frozen"]:
        model.towers[name].requires_grad_(False)
    model.eval()
    if check:
        _check_reference(model, folder)
    return model


def read_description(folder: Path) -> dict[str, Any]:
    """The content of `model.json`.

    Raises:
        CheckpointError: if it is missing, damaged, or of a newer format.
    """
    file = folder / "model.json"
    if not file.exists():
        raise CheckpointError(f"{folder} has no model.json: give a folder that `diptych train` wrote")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged ({error}); restore it or train again") from error
    if content.get("format", 0) > FORMAT:
        raise CheckpointError(f"{file} has format {content['format']}, newer than {FORMAT}: update diptych")
    return content


def _reference(model: Model, inputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    out = {}
    for view, tensors in inputs.items():
        out |= {f"{view}/in/{name}": tensor.cpu().contiguous() for name, tensor in tensors.items()}
        out |= {f"{view}/out/{space}": vector for space, vector in _vectors(model, view, tensors).items()}
    return out


def _vectors(model: Model, view: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        embedding = model.encode(view, {name: tensor.to(device) for name, tensor in inputs.items()})
    return {space: vector.float().cpu().contiguous() for space, vector in embedding.vectors.items()}


def _check_reference(model: Model, folder: Path) -> None:
    try:
        kept = load_file(folder / "reference.safetensors")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / 'reference.safetensors'} cannot be read: {error}") from error
    for view in sorted({name.split("/")[0] for name in kept}):
        inputs = {n.split("/")[2]: t for n, t in kept.items() if n.startswith(f"{view}/in/")}
        for space, vector in _vectors(model, view, inputs).items():
            worst = float((vector - kept[f"{view}/out/{space}"]).abs().max())
            if not worst <= 1e-3:  # float32 on other hardware stays within 1e-5; this is another model
                raise CheckpointError(
                    f"{folder} gives other vectors than when it was saved (view {view!r}, space {space!r}, off by "
                    f"{worst:.2g}): its weights were altered, or a library it uses has changed"
                )
