"""Models for other libraries: as their own folders, with equal embeddings, and a card that says what they are.

safetensors  our own checkpoint, copied              any model
onnx         a graph of each tower                   any model whose towers stand alone
open_clip    `create_model_and_transforms`           CLIPs of ours, towers that open_clip gave
hf           `from_pretrained`                       CLIPs of ours, towers that `transformers` gave
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.core.model import Model
from diptych.data.replacing import absolute, replacement
from diptych.exporting.card import write_card
from diptych.exporting.hf import write_hf
from diptych.exporting.hub import push
from diptych.exporting.native import CannotExport
from diptych.exporting.onnx import write_onnx
from diptych.exporting.open_clip import write_open_clip
from diptych.exporting.safetensors import write_safetensors
from diptych.exporting.source import Source, open_source
from diptych.models.opening import scheme_of

Target = Literal["hf", "open_clip", "onnx", "safetensors"]

MARKS = ("model.json", "onnx.json", "open_clip_config.json", "config.json")
"""Of which every export has one."""

_WRITERS: Mapping[str, Callable[[Model, Path], list[str]]] = {
    "hf": write_hf,
    "open_clip": write_open_clip,
    "onnx": write_onnx,
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        notes: sentences on what is not the same in the target's library; also in the card.
    """

    folder: Path
    notes: tuple[str, ...]


def export(run: str | Path, out: str | Path, *, to: Target, overwrite: bool = False) -> Exported:
    """Write a model for another library.

    Args:
        run: a run's folder, a checkpoint's, or a name as `diptych.models.opening.load` takes it.
        out: the folder to write; it appears when it is whole.
        to: for which library.
        overwrite: replace what is in `out`.

    Raises:
        ValueError: if `out` is not empty and `overwrite` is false; if there is no such model.
        CannotExport: if the model has a part that the target cannot say; the message names it.
        ImportError: if the target needs packages that are not installed.

    Example:
        `export("runs/mine", "mine-onnx", to="onnx")`
    """
    folder = absolute(out)
    require_free(folder, overwrite=overwrite)
    source = open_source(str(run))
    place = source.checkpoint or Path(scheme_of(run)[1])
    if place.exists() and (folder == place.resolve() or folder in place.resolve().parents):
        raise ValueError(f"--out {out} holds the model itself, {place}; give another folder")
    with replacement(folder) as written:
        notes = _write(source, written, to)
        (written / "README.md").write_text(write_card(source, to, notes), encoding="utf-8")
    return Exported(folder, tuple(notes))


def _write(source: Source, folder: Path, to: Target) -> list[str]:
    if to == "safetensors":
        return write_safetensors(source.model, folder, checkpoint=source.checkpoint)
    return _WRITERS[to](source.model, folder)


def require_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace what is there unasked.

    Raises:
        ValueError: if `folder` is a file, has anything in it and `overwrite` is false, or anything but an export.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --out is the folder to write")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"{folder} is not empty; choose another --out, or --overwrite it")
    if not any((folder / name).is_file() for name in MARKS):
        raise ValueError(f"{folder} holds no exported model; --overwrite replaces nothing else")


__all__ = ["CannotExport", "Exported", "Target", "export", "push", "require_free"]
