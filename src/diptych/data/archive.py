"""Embeddings of a collection on disk, shard by shard: what `diptych embed` writes and everything else may read.

    archive.json                whose vectors these are: model, fingerprint, precision, what was embedded
    shard-00000.parquet         a row an image: number in its table, id, texts, path, every other column
    shard-00000.safetensors     "image/dense" [rows, D], "text/dense" [texts, D], "text/owner" [texts] int64
    shard-00000.json            written last: the key of what the shard was made of, its counts, its bad rows

A shard is whole if its JSON is there and its files have the sizes that this says. Reading one needs the memory of one.
Vectors are float16: of unit vectors that changes a cosine by less than 0.0005, in practice by 0.00001.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diptych.data.bad_rows import BadRow
from diptych.data.store import require_room

FORMAT = 1


class ArchiveError(ValueError):
    """A folder is no archive, or not a whole one."""


@dataclass(frozen=True)
class Facts:
    """What a shard's JSON says.

    Attributes:
        key: hash of everything the shard depends on.
        rows, texts: how many it has.
        cut_texts: how many of them were cut to the model's length.
        precision: view -> that of its tower.
        bad: rows that were set aside.
        sizes: file name -> bytes.
    """

    key: str
    rows: int
    texts: int
    cut_texts: int = 0
    precision: Mapping[str, str] = field(default_factory=dict)
    bad: tuple[BadRow, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)


class Shard:
    """One shard, read when asked: its rows, its vectors.

    Args:
        folder: of the archive.
        number: from 0.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.stem = folder / f"shard-{number:05}"

    def facts(self) -> Facts | None:
        """What its JSON says; None where there is none, or a file of it is missing or cut short."""
        try:
            said = json.loads(self.stem.with_suffix(".json").read_text())
            facts = Facts(**{**said, "bad": tuple(BadRow(**one) for one in said["bad"])})
            whole = all((self.folder / name).stat().st_size == size for name, size in facts.sizes.items())
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return facts if whole else None

    def names(self) -> list[str]:
        """What `vectors` can be asked for."""
        with self._open() as file:
            return sorted(file.keys())

    def vectors(self, name: str) -> Tensor:
        """A tensor of the shard, e.g. `"image/dense"` `[rows, D]`.

        Raises:
            ArchiveError: if there is none of that name, or the file is damaged.
        """
        with self._open() as file:
            if name not in file.keys():  # noqa: SIM118 (the file is no mapping)
                raise ArchiveError(f"{self.stem}.safetensors has no {name!r}; it has {sorted(file.keys())}")
            return file.get_tensor(name)

    def rows(self) -> pa.Table:
        """The shard's rows: `row`, `id`, `text`, `path` and the collection's other columns."""
        return pq.read_table(self.stem.with_suffix(".parquet"))

    def _open(self) -> Any:
        try:
            return safe_open(self.stem.with_suffix(".safetensors"), framework="pt")
        except (OSError, SafetensorError) as error:
            raise ArchiveError(
                f"{self.stem}.safetensors cannot be read ({error}); embed the collection again"
            ) from error

    def write(self, rows: pa.Table, vectors: Mapping[str, Tensor], facts: Facts) -> None:
        """Write the shard; whatever stops it, an earlier one counts or none.

        Raises:
            OSError: if the disk is too full.
        """
        tensors = {name: tensor.contiguous() for name, tensor in vectors.items()}
        require_room(self.folder, rows.nbytes + sum(tensor.nbytes for tensor in tensors.values()))
        self.stem.with_suffix(".json").unlink(missing_ok=True)
        files = {suffix: self.stem.with_suffix(suffix) for suffix in (".parquet", ".safetensors", ".json")}
        writing = {suffix: file.with_name(f".{file.name}.writing") for suffix, file in files.items()}
        pq.write_table(rows, writing[".parquet"], compression="zstd")
        save_file(tensors, writing[".safetensors"])
        sizes = {files[suffix].name: writing[suffix].stat().st_size for suffix in (".parquet", ".safetensors")}
        content = {**asdict(facts), "sizes": sizes}
        writing[".json"].write_text(json.dumps(content, ensure_ascii=False))
        for suffix, file in files.items():  # the JSON last
            with writing[suffix].open("rb") as written:
                os.fsync(written.fileno())
            os.replace(writing[suffix], file)

    def remove(self) -> None:
        """Delete its files, the JSON first."""
        for suffix in (".json", ".parquet", ".safetensors"):
            self.stem.with_suffix(suffix).unlink(missing_ok=True)


@dataclass(frozen=True)
class Archive:
    """Embeddings of a collection.

    Attributes:
        folder: where it lies.
        model: the name it was loaded by.
        fingerprint: of the model; vectors of another do not compare.
        precision: view -> that of its tower.
        source: what was embedded, in words.
        widths: `"image/dense"` ... -> D.
        shards: how many there are.
        rows, texts: in all.
        cut_texts: how many texts were cut to the model's length.

    Example:
        `for shard in Archive.open("embeddings"): shard.vectors("image/dense"), shard.rows()`
    """

    folder: Path
    model: str
    fingerprint: str
    precision: Mapping[str, str]
    source: str
    widths: Mapping[str, int]
    shards: int
    rows: int
    texts: int
    cut_texts: int = 0

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open an archive; no vector is read.

        Raises:
            ArchiveError: if there is none, it is of a newer format, or a shard is missing or cut short.
        """
        archive = cls.described(folder)
        missing = [shard.number for shard in archive if shard.facts() is None]
        if missing:
            raise ArchiveError(
                f"shards {missing[:5]} of {folder} are missing or cut short: give the same `diptych embed` again"
            )
        return archive

    @classmethod
    def described(cls, folder: str | Path) -> Self:
        """What `archive.json` says, whether or not the shards are there.

        Raises:
            ArchiveError: if there is none, or it is of a newer format.
        """
        folder = Path(folder)
        file = folder / "archive.json"
        if not file.exists():
            begun = " (the embedding there was not finished: give the same command again)" if _shards(folder) else ""
            raise ArchiveError(f"{folder} has no archive.json{begun}; give a folder that `diptych embed --out` wrote")
        try:
            said = json.loads(file.read_text())
        except ValueError as error:
            raise ArchiveError(f"{file} is damaged ({error}); give the same `diptych embed` again") from error
        if said.pop("format", 0) > FORMAT:
            raise ArchiveError(f"{file} is of a newer format than {FORMAT}: update diptych")
        return cls(folder=folder, **said)

    def __iter__(self) -> Iterator[Shard]:
        return (Shard(self.folder, number) for number in range(self.shards))

    def write(self) -> None:
        """Write `archive.json`; shards beyond the last, of an earlier archive, are removed."""
        for number in _shards(self.folder):
            if number >= self.shards:
                Shard(self.folder, number).remove()
        content = {"format": FORMAT, **{name: value for name, value in asdict(self).items() if name != "folder"}}
        writing = self.folder / ".archive.json.writing"
        writing.write_text(json.dumps(content, indent=1, ensure_ascii=False))
        os.replace(writing, self.folder / "archive.json")


def _shards(folder: Path) -> list[int]:
    return sorted(int(file.stem.split("-")[1]) for file in folder.glob("shard-[0-9]*.json"))
