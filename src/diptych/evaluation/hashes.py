"""SHA-256 of what was measured: rows with their pictures, a model, prompts, a card. Equal hashes, equal inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from diptych.core.model import Model
from diptych.models.checkpoint import describe_model


def hash_of_rows(table: Dataset) -> str:
    """64 hex digits of all rows, in order: every column, and the bytes of the pictures (read from their files)."""
    digest = hashlib.sha256(json.dumps(sorted(table.column_names)).encode())
    others = table.select_columns([name for name in table.column_names if name != "image"])
    pictures = table.select_columns(["image"])["image"] if "image" in table.column_names else None
    for place, row in enumerate(others):
        digest.update(_plain(row))
        if pictures is not None:
            digest.update(hashlib.sha256(_bytes(pictures[place])).digest())
    return digest.hexdigest()


def hash_of_model(model: Model) -> str:
    """64 hex digits of description and weights; which towers are frozen is no part of it."""
    digest = hashlib.sha256(_plain({n: v for n, v in describe_model(model).items() if n != "frozen"}))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_of_texts(texts: Iterable[str]) -> str | None:
    """64 hex digits of some texts, in whichever order; None of none."""
    listed = sorted(texts)
    return hash_of_plain(listed) if listed else None


def hash_of_plain(value: Any) -> str:
    """64 hex digits of plain values."""
    return hashlib.sha256(_plain(value)).hexdigest()


def _plain(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()


def _bytes(value: Any) -> bytes:
    """Of a picture as a table has it."""
    content = value.get("bytes") if isinstance(value, dict) else None
    return Path(str(value["path"])).read_bytes() if content is None else content
