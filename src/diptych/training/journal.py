"""The log of a run: `log.jsonl`, one line a step, and TensorBoard events where asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.training.state import Position


class Journal:
    """Appends to a run's log; lines past the step it resumes from are dropped first.

    Args:
        folder: of the run.
        step: the step to resume from; 0 starts anew.
        tensorboard: also write events to `folder/tensorboard`.

    Raises:
        ModuleNotFoundError: if TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self.path = folder / "log.jsonl"
        kept = [line for line in read_log(folder) if line["step"] <= step] if step else []
        self._losses: list[tuple[int, float]] = [(line["step"], line["loss"]) for line in kept]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")
        self._board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ModuleNotFoundError("TensorBoard is missing: uv pip install 'diptych[tensorboard]'") from error
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, position: Position, numbers: Mapping[str, float | str]) -> None:
        """One line: where training is, and the step's numbers (and words, such as why it was skipped)."""
        line = {"step": position.step, "phase": position.phase, "epoch": position.epoch, **numbers}
        line["seconds"] = round(position.seconds, 3)
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._losses.append((position.step, float(numbers["loss"])))
        if self._board is not None:
            for name, number in numbers.items():
                if not isinstance(number, str):
                    self._board.add_scalar(name, number, position.step)

    def losses(self) -> list[tuple[int, float]]:
        """(step, loss) of the whole run."""
        return list(self._losses)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return read_lines(folder / "log.jsonl")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, none where there is no file; a last line cut by a crash is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
