"""The manifest: the one file of an index that says what the folder holds and which shards are part of it.

It is replaced whole (temporary file, fsync, rename), so a reader finds the old one or the new
one, never half of either.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from diptych.data.replacing import sync_folder
from diptych.search.errors import IndexUnreadable
from diptych.search.spaces import Space

# 1 knew dense spaces only.
FORMAT = 2
NAME = "manifest.json"

FieldType = Literal["keyword", "integer", "float", "bool", "datetime", "text"]


@dataclass(frozen=True)
class Manifest:
    """What an index holds.

    Attributes:
        spaces: name -> `Space`.
        checkpoint: fingerprint of the checkpoint that makes the vectors.
        created: ISO 8601 time in UTC at which the index was begun.
        sources: where the rows came from, in the caller's words.
        payload_fields: payload field -> type, of the fields that have an index of their own.
        count: rows when the manifest was last written; `len(index)` is the count of now.
        state: "building" until every row is on disk, then "ready".
        sealed: folders of shards that are never written again.
        live: folder of the one shard that takes writes, if there is one.
    """

    spaces: Mapping[str, Space]
    checkpoint: str
    created: str
    sources: str = ""
    payload_fields: Mapping[str, FieldType] = field(default_factory=dict)
    count: int = 0
    state: Literal["building", "ready"] = "building"
    sealed: tuple[str, ...] = ()
    live: str | None = None

    @classmethod
    def new(
        cls, spaces: Mapping[str, Space], checkpoint: str, sources: str, fields: Mapping[str, FieldType] | None
    ) -> "Manifest":
        """The manifest of an index begun now, without shards.

        Raises:
            ValueError: if there are no spaces, one has no name or a slash in it, there is no checkpoint, or a
                field's type is unknown.
        """
        if not spaces or not all(spaces):
            raise ValueError(f"an index needs at least one space, and every space a name; found {dict(spaces)!r}")
        for name in spaces:
            if "/" in name:
                raise ValueError(f"the space {name!r} has a slash in its name, which names a folder of the index")
        if not checkpoint or not isinstance(checkpoint, str):
            raise ValueError(f"checkpoint is the fingerprint of the model's checkpoint, a text; found {checkpoint!r}")
        for name, kind in (fields or {}).items():
            if kind not in get_args(FieldType):
                raise ValueError(f"payload field {name!r} has type {kind!r}; expected one of {get_args(FieldType)}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(dict(spaces), checkpoint, now, sources, dict(fields or {}))

    def write(self, folder: Path) -> None:
        """Put this manifest into `folder`, in the place of an earlier one.

        Raises:
            OSError: if it cannot be written; the earlier one is then untouched.
        """
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)
        scratch = folder / f".{NAME}.{os.getpid()}"
        try:
            with scratch.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(folder / NAME)
        finally:
            scratch.unlink(missing_ok=True)
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """The manifest of the index in `folder`, whatever its state.

        Raises:
            IndexUnreadable: if there is none, it is damaged, or a newer Diptych wrote it.
        """
        path = folder / NAME
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise IndexUnreadable(f"{folder} is not an index: it has no {NAME}") from None
        except (OSError, ValueError) as error:
            raise IndexUnreadable(f"{path} cannot be read ({error}); rebuild it with `diptych index`") from error
        version = found.pop("format", None) if isinstance(found, dict) else None
        if type(version) is not int:
            raise IndexUnreadable(f"{path} is not the manifest of an index: it names no format")
        if version > FORMAT:
            raise IndexUnreadable(
                f"{folder} has format {version}, this Diptych reads up to {FORMAT}; "
                f"upgrade Diptych, or rebuild it with `diptych index`"
            )
        try:
            return _parse(found)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise IndexUnreadable(f"{path} is damaged ({error!r}); rebuild it with `diptych index`") from error


def _parse(found: dict[str, Any]) -> Manifest:
    """A manifest of the current format, or an earlier one, from its JSON."""
    for name in ("checkpoint", "created"):
        if not isinstance(found[name], str):
            raise ValueError(f"{name} is not a text")
    if found["state"] not in ("building", "ready"):
        raise ValueError(f"unknown state {found['state']!r}")
    shards = [*found["sealed"], *([] if found["live"] is None else [found["live"]])]
    if any(not isinstance(name, str) or Path(name).name != name for name in shards):
        raise ValueError(f"shards must be names of folders inside the index, not {shards!r}")
    if len(shards) != 1:
        raise ValueError(f"expected one shard, found {shards!r}")
    spaces = {name: Space(**space) for name, space in found["spaces"].items()}
    return Manifest(**{**found, "spaces": spaces, "sealed": tuple(found["sealed"])})
