"""Embeddings of a collection on disk, shard by shard: what `diptych embed` writes and everything else may read.

    archive.json                whose vectors these are: model, fingerprint, precision, what was embedded; written first
                                as begun, so that no other folder is taken for one, and again when all is there
    shard-00000.parquet         a row an image: `_row` in its table, `_image` its path, id, text, every other column
    shard-00000.safetensors     "image/dense" [rows, D], "text/dense" [texts, D], "text/owner" [texts] int64; other
                                spaces by their names, of which
                                    sparse ones as "/terms" and "/weights" [entries], "/counts" [rows], "/size" [1]
                                    tokens as "image/tokens" [entries, D] and "/counts" [rows]
                                    codes as "image/code" [rows, bits / 8] uint8 and "/size" [1]
    shard-00000.json            written last: the key of what the shard was made of, its counts, its bad rows

A shard is whole if its JSON is there and its files have the sizes that this says. Reading one needs the memory of one.
Vectors are float16 and made of features kept in bf16, which together move a cosine by about 0.0005 at most.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
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
        fingerprint: of the model.
        rows, texts: how many it has.
        cut_texts: how many of them were cut to the model's length.
        precision: view -> that of its tower.
        bad: rows that were set aside.
        sizes: file name -> bytes.
    """

    key: str
    fingerprint: str
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

    def spaces(self) -> dict[str, tuple[str, int]]:
        """`"view/space"` -> its kind and width, see `spaces_of`."""
        return spaces_of({name: self.vectors(name) for name in self.names()})

    def rows(self) -> pa.Table:
        """The shard's rows: `_row`, `id`, `text`, `_image` (its path) and the collection's other columns."""
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
        writing = {suffix: file.with_name(f".{file.name}.{os.getpid()}.writing") for suffix, file in files.items()}
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


def spaces_of(vectors: Mapping[str, Tensor]) -> dict[str, tuple[str, int]]:
    """What a shard's vectors are: `"view/space"` -> kind ("dense", "lexical", "late", "code") and D, terms or bits."""
    found: dict[str, tuple[str, int]] = {}
    for name in sorted(vectors):
        if name.endswith("/terms"):
            own = name.removesuffix("/terms")
            found[own] = ("lexical", int(vectors[f"{own}/size"]))
        elif name.count("/") == 1 and not name.endswith("/owner"):
            if f"{name}/size" in vectors:
                found[name] = ("code", int(vectors[f"{name}/size"]))
            else:
                found[name] = ("late" if f"{name}/counts" in vectors else "dense", int(vectors[name].shape[1]))
    return found


@dataclass(frozen=True)
class Archive:
    """Embeddings of a collection.

    Attributes:
        folder: where it lies.
        model: the name it was loaded by.
        options: what else it was loaded with, such as `max_length`.
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
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: str | Path, *, model: str, fingerprint: str, overwrite: bool = False) -> None:
        """Claim a folder for embeddings of a model; until `write`, it cannot be opened.

        Args:
            folder: empty, not there, or an archive.
            model: the name it was loaded by.
            fingerprint: of the model.
            overwrite: whether embeddings of another model may be replaced.

        Raises:
            ArchiveError: if the folder holds anything else, or embeddings of another model.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ArchiveError(f"{folder} is a file; --out is the folder to write")
        file = folder / "archive.json"
        if not file.exists() and folder.exists() and any(not one.name.startswith(".") for one in folder.iterdir()):
            raise ArchiveError(f"{folder} holds something else than embeddings; give another --out")
        there = _read(file) if file.exists() else None
        if there is not None and there.get("fingerprint") != fingerprint and not overwrite:
            raise ArchiveError(
                f"{folder} holds embeddings of another model ({there.get('model')}); give another --out, or --overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _write(file, {"format": FORMAT, "state": "begun", "model": model, "fingerprint": fingerprint})

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open an archive; no vector is read.

        Raises:
            ArchiveError: if there is none, it was not finished, is of a newer format, or lacks a shard.
        """
        folder = Path(folder)
        file = folder / "archive.json"
        if not file.exists():
            raise ArchiveError(f"{folder} has no archive.json; give a folder that `diptych embed --out` wrote")
        said = _read(file)
        if said is None or said.get("state") != "ready":
            raise ArchiveError(f"the embedding in {folder} was not finished: give the same `diptych embed` again")
        if said["format"] > FORMAT:
            raise ArchiveError(f"{file} is of a newer format than {FORMAT}: update diptych")
        known = {one.name for one in fields(cls)} & set(said)
        archive = cls(folder=folder, **{name: said[name] for name in known})
        missing = [shard.number for shard in archive if shard.facts() is None]
        if missing:
            raise ArchiveError(
                f"shards {missing[:5]} of {folder} are missing or cut short: give the same `diptych embed` again"
            )
        return archive

    def __iter__(self) -> Iterator[Shard]:
        return (Shard(self.folder, number) for number in range(self.shards))

    def write(self) -> None:
        """Write `archive.json`; shards beyond the last, of an earlier archive, are removed."""
        for number in _shards(self.folder):
            if number >= self.shards:
                Shard(self.folder, number).remove()
        said = {name: value for name, value in asdict(self).items() if name != "folder"}
        _write(self.folder / "archive.json", {"format": FORMAT, "state": "ready", **said})


def _read(file: Path) -> dict[str, Any] | None:
    """What an `archive.json` says; None if it is damaged: its shards still say what they are made of."""
    try:
        said = json.loads(file.read_text())
    except ValueError:
        return None
    return said if isinstance(said, dict) and "format" in said else None


def _write(file: Path, content: Mapping[str, Any]) -> None:
    writing = file.with_name(f".{file.name}.{os.getpid()}.writing")
    with writing.open("w") as written:
        json.dump(content, written, indent=1, ensure_ascii=False)
        written.flush()
        os.fsync(written.fileno())
    os.replace(writing, file)


def _shards(folder: Path) -> list[int]:
    return sorted(int(file.stem.split("-")[1]) for file in folder.glob("shard-[0-9]*.json"))
