"""Files of a model's folder, or of its place on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def find_file(place: str, file: str, *, revision: str | None = None) -> Path | None:
    """A file of a folder or of a place on the hub, fetched if need be; None where there is none.

    Raises:
        ValueError: if there is no such place, or the hub cannot be asked.
    """
    from transformers.utils.hub import cached_file

    if Path(place).is_dir():
        return found if (found := Path(place, file)).exists() else None
    try:
        fetched = cached_file(place, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {file} of {place!r}: {error}") from error
    return Path(str(fetched)) if fetched else None


def find_json(place: str, file: str) -> Any:
    """The content of a JSON file; None where there is none.

    Raises:
        ValueError: as `find_file`, or if it is no JSON.
    """
    found = find_file(place, file)
    return json.loads(found.read_text()) if found else None
