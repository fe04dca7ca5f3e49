"""A checkpoint of ours copied whole: `diptych.load(DIR)` opens it, and nothing in it is run.

model.json  model.safetensors  reference.safetensors
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from diptych.core.model import Model
from diptych.models.checkpoint import save
from diptych.training.run import reference_inputs

FILES = ("model.json", "model.safetensors", "reference.safetensors")


def write_safetensors(model: Model, folder: Path, *, checkpoint: Path | None = None, note: Any = None) -> list[str]:
    """Write a checkpoint, as `diptych.models.checkpoint` describes it.

    Args:
        model: to write.
        folder: to write into; empty.
        checkpoint: the folder that the model was loaded from, copied byte by byte; None for a model that was not.
        note: kept with a model that was not.
    """
    if checkpoint is None:
        save(model, folder, reference=reference_inputs(model), note=note)
        return []
    for name in FILES:
        shutil.copyfile(checkpoint / name, folder / name)
    return []
