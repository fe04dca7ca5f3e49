"""What is exported: a run's model with all that is known of it, or another library's model by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych.core.model import Model
from diptych.data.replacing import recover
from diptych.models import checkpoint
from diptych.models.opened import open_run
from diptych.models.opening import load, scheme_of


@dataclass(frozen=True)
class Source:
    """A model, and what is known of it.

    Attributes:
        name: as it was given.
        model: in eval mode on the CPU.
        checkpoint: its folder; None for another library's.
        fingerprint: of the checkpoint.
        note: how it was trained, from `model.json`.
        evaluation: what `diptych evaluate` measured of this very checkpoint; empty where it did not.
    """

    name: str
    model: Model
    checkpoint: Path | None = None
    fingerprint: str | None = None
    note: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)


def open_source(name: str) -> Source:
    """A run's folder, a checkpoint's, or a name as `diptych.models.opening.load` takes it.

    Raises:
        diptych.models.checkpoint.CheckpointError: if there is no such folder, or its run is unfinished.
        ValueError: if another library has no such model.
    """
    if scheme_of(name)[0] is not None:
        return Source(name, load(name))
    folder = open_run(name)
    recover(folder.resolve())
    content = checkpoint.read_description(folder)
    model = checkpoint.load(folder)
    measured = _measured(folder.resolve().parent / "evaluation.json", content["fingerprint"])
    return Source(name, model, folder, content["fingerprint"], content["note"] or {}, measured)


def _measured(file: Path, fingerprint: str) -> dict[str, Any]:
    """The measurements, if they are of this checkpoint and not of an earlier one."""
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); measure again with `diptych evaluate`") from error
    return content if content.get("checkpoint") == fingerprint else {}
