"""The best checkpoint of a run, by a measure taken after every epoch: RUN/best, and RUN/validation.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from diptych.core.model import Model
from diptych.data.replacing import absolute, recover, replacement
from diptych.models.checkpoint import separate
from diptych.training.journal import read_lines
from diptych.training.processes import from_first
from diptych.training.state import Position

Measure = Callable[[Model], Mapping[str, float]]
"""The model to numbers, `"score"` among them: the higher, the better."""


@dataclass(frozen=True)
class Best:
    """Keeps the weights of the epoch with the highest score.

    Attributes:
        out: the run's folder.
        measure: None keeps nothing.
    """

    out: Path
    measure: Measure | None

    def after_epoch(self, model: Model, position: Position) -> None:
        """Measure, log, and keep the weights if they are the best so far; on every process."""
        if self.measure is not None:
            from_first(lambda: self._judge(model, position))

    def take(self, model: Model) -> dict[str, Any] | None:
        """Give the model the best weights; which they are, or None where nothing was measured."""
        if self.measure is None:
            return None
        folder = absolute(self.out / "best")
        recover(folder)
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        return json.loads((folder / "measured.json").read_text())

    def _judge(self, model: Model, position: Position) -> None:
        assert self.measure is not None
        numbers = {"epoch": position.epoch, "step": position.step, **self.measure(model)}
        earlier = [line for line in read_validation(self.out) if line["step"] < position.step]
        lines = "".join(json.dumps(line) + "\n" for line in [*earlier, numbers])
        (self.out / "validation.jsonl").write_text(lines)
        if any(line["score"] >= numbers["score"] for line in earlier):
            return
        with replacement(absolute(self.out / "best")) as folder:
            save_file(separate(model.state_dict()), folder / "weights.safetensors")
            (folder / "measured.json").write_text(json.dumps(numbers))


def read_validation(run: Path) -> list[dict[str, Any]]:
    """What was measured after every epoch."""
    return read_lines(run / "validation.jsonl")
