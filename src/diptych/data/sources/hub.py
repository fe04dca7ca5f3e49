"""Datasets that are datasets already: written by `save_to_disk`, or on the Hugging Face hub."""

import logging
from pathlib import Path

import datasets

from diptych.data.sources.errors import TableError
from diptych.data.sources.raw import Part, Raw

log = logging.getLogger(__name__)


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    single = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return single or (folder / "dataset_dict.json").is_file()


def read_saved(folder: Path) -> Raw:
    """Open a folder written by `save_to_disk`, memory-mapped; the keys of a `DatasetDict` are splits.

    Raises
    ------
    TableError
        If files of it are missing or broken.
    """
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise TableError(f"{folder} was written by save_to_disk but cannot be opened: {error}") from error
    return _raw(str(folder), found)


def read_hub(name: str) -> Raw:
    """Download "org/name" or "org/name:config" from the hub, or take it from the cache of `datasets`.

    A local folder that is laid out like a repository of the hub may stand in for one.

    Raises
    ------
    TableError
        If there is no such dataset, no way to it, or several configurations to choose from.
    """
    path, _, config = name.partition(":")
    try:
        found = datasets.load_dataset(path, config or None)
    except (OSError, ValueError, RuntimeError) as error:
        if Path(path).is_dir():
            raise TableError(f"{path} looks like a folder of Parquet files but cannot be read: {error}") from error
        raise TableError(
            f"no dataset {path!r}{f' with configuration {config!r}' if config else ''} could be loaded from the "
            f"Hugging Face hub: {error}. Check the name, its configuration (hf:{path}:CONFIG), the network, and "
            f"whether it needs a login (hf auth login)"
        ) from error
    if not isinstance(found, datasets.Dataset | datasets.DatasetDict):
        raise TableError(f"{name} is a stream, which has no rows to count; expected a dataset that can be downloaded")
    return _raw(path, found)


def _raw(name: str, found: datasets.Dataset | datasets.DatasetDict) -> Raw:
    """One table of all splits, each a part with ids of its own."""
    if isinstance(found, datasets.Dataset):
        return Raw(name, found, [Part(name, len(found))])
    parts = [Part(f"{name}, split {key}", len(own), prefix=f"{key}/", split=str(key)) for key, own in found.items()]
    try:
        return Raw(name, datasets.concatenate_datasets(list(found.values())), parts)
    except ValueError as error:
        splits = ", ".join(map(str, found))
        raise TableError(f"the splits of {name} ({splits}) differ in their columns: {error}") from error
