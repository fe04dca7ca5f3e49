"""WebDataset tars: consecutive members `000017.jpg`, `000017.json`, `000017.txt` are one sample, `000017`.

A tar cannot be read from the middle, so each is copied once into Arrow in the cache: the images'
bytes into one file, as they stream by, all else into another. Later a table maps both into memory.
Tars are cached one by one under a hash of path, size and time of change, so an interrupted reading
goes on with the next tar, and a tar that is added or changed is the only one read again.
"""

import json
import logging
import os
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from diptych.data.bad_rows import BadRow, BadRows
from diptych.data.cache import cache_root
from diptych.data.sources.files import parse_object
from diptych.data.sources.folder import IMAGE_SUFFIXES
from diptych.data.sources.raw import Part, Raw, stack, table_of

log = logging.getLogger(__name__)

_FORMAT = 2
"""Part of the cache's key: raise it when what is written for the same tar changes."""

_IMAGES = datasets.Features({"image": datasets.Image(decode=False)})
_KEY = "__key__"
_BATCH_ROWS = 1000
_BATCH_BYTES = 64 << 20
_END = bytes(tarfile.BLOCKSIZE)


@dataclass
class Sample:
    """The members of one sample as they come: its image, and all else as columns.

    Attributes:
        key: the common name of its members.
        image: bytes of its image; None where it has none.
        columns: its captions, its label, and the fields of its JSON.
        fault: reason and detail, if it cannot be used.
    """

    key: str
    image: bytes | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    fault: tuple[str, str] | None = None


def read_tars(name: str, paths: Sequence[Path], bad: BadRows) -> Raw:
    """Read tars as one source, from the cache where they have been read before.

    Columns are `image` and the fields of each sample's `.json`, with `text` from its `.txt` (a
    caption a line) and `label` from its `.cls`; a field of the same name becomes `original_...`.

    Parameters
    ----------
    name
        What messages call the source.
    paths
        The tars, in the order of their rows.
    bad
        Takes what is bad in the tars, of cached ones as well: files that are no tar, where one is
        cut, and samples without an image or with a member that cannot be read.
    """
    total = sum(path.stat().st_size for path in paths)
    images, columns, parts = [], [], []
    with Progress(console=Console(stderr=True), transient=True, disable=all(map(_is_cached, paths))) as progress:
        task = progress.add_task(f"reading {name}", total=total)
        for path in paths:
            folder = _cached(path)
            own = _columns_of(folder)
            keys = own.column(_KEY).to_pylist()
            images.append(datasets.Dataset.from_file(str(folder / "images.arrow")))
            columns.append(own)
            parts.append(Part(str(path), len(keys), prefix=f"{path.stem}/", keys=keys))
            bad.extend(_bad_rows_of(folder))
            progress.advance(task, path.stat().st_size)
    pixels = datasets.concatenate_datasets(images)
    rest = stack(columns).drop_columns(_KEY)
    if rest.num_columns and len(pixels):
        pixels = datasets.concatenate_datasets([pixels, datasets.Dataset(rest)], axis=1)  # pyright: ignore[reportArgumentType]
    return Raw(name, pixels, parts)


def _folder(path: Path) -> Path:
    """Where in the cache a tar is kept: another place if it is another file or has changed."""
    stat = path.stat()
    identity = repr((_FORMAT, str(path.absolute()), stat.st_size, stat.st_mtime_ns))
    return cache_root() / "tables" / f"tar-{blake2b(identity.encode(), digest_size=16).hexdigest()}"


def _is_cached(path: Path) -> bool:
    return _folder(path).is_dir()


def _cached(path: Path) -> Path:
    """The folder with the tar's rows, read now if need be; it appears whole or not at all."""
    folder = _folder(path)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _copy(path, scratch)
        try:
            scratch.replace(folder)
        except OSError:
            if not folder.is_dir():  # if it is, another process was faster, and its copy is as good
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _columns_of(folder: Path) -> pa.Table:
    with pa.memory_map(str(folder / "columns.arrow")) as source:
        return pa.ipc.open_stream(source).read_all()


def _bad_rows_of(folder: Path) -> Iterator[BadRow]:
    with (folder / "bad_rows.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            yield BadRow(**json.loads(line))


def _copy(path: Path, folder: Path) -> None:
    """Write the samples of a tar to `folder`: images.arrow, columns.arrow, bad_rows.jsonl."""
    found = BadRows()
    tables = []
    with pa.OSFile(str(folder / "images.arrow"), "wb") as sink, pa.ipc.new_stream(sink, _IMAGES.arrow_schema) as writer:
        for batch in _batches(_samples_of(path, found)):
            images = [{"bytes": sample.image, "path": None} for sample in batch]
            writer.write_table(pa.table({"image": images}, schema=_IMAGES.arrow_schema))
            tables.append(table_of([{_KEY: sample.key, **sample.columns} for sample in batch]))
    columns = stack(tables) if tables else pa.table({_KEY: pa.array([], pa.string())})
    with pa.OSFile(str(folder / "columns.arrow"), "wb") as sink, pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_table(columns)
    lines = [json.dumps(asdict(entry), ensure_ascii=False) + "\n" for entry in found]
    (folder / "bad_rows.jsonl").write_text("".join(lines), "utf-8")


def _batches(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Samples in lists that are bounded in number and in bytes."""
    batch, size = [], 0
    for sample in samples:
        batch.append(sample)
        size += len(sample.image or b"")
        if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _samples_of(path: Path, bad: BadRows) -> Iterator[Sample]:
    with path.open("rb") as stream:
        yield from read_samples(str(path), stream, bad)


def read_samples(name: str, stream: BinaryIO, bad: BadRows, *, images: bool = True) -> Iterator[Sample]:
    """The samples of a tar, as they stream by, that have an image and can be read; the others are set aside.

    Parameters
    ----------
    name
        What messages call the tar.
    stream
        The tar, open; it must be able to seek.
    bad
        Takes what cannot be read, and where the tar is cut.
    images
        Read the bytes of images too; else they are passed over, and those of every sample are b"".
    """
    for sample in _runs(name, stream, bad, images):
        where = f"{name}, sample {sample.key}"
        if sample.fault is not None:
            bad.add(None, where, *sample.fault)
        elif sample.image is None:
            bad.add(None, where, "no image", f"its members: {', '.join(sample.columns) or 'none that is known'}")
        else:
            yield sample


def _runs(name: str, stream: BinaryIO, bad: BadRows, images: bool) -> Iterator[Sample]:
    """All samples: runs of members of one key."""
    sample, unknown = None, Counter()
    for member, data in _members(name, stream, bad, images):
        folder, _, file = member.rpartition("/")
        stem, _, suffix = file.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        if not _take(sample, suffix.rpartition(".")[2].lower(), data):
            unknown[suffix] += 1
    if sample is not None:
        yield sample
    if unknown:
        log.info("%s: members not used: %s", name, ", ".join(f"{n} .{suffix}" for suffix, n in unknown.items()))


def _members(name: str, stream: BinaryIO, bad: BadRows, images: bool) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each file in a tar; where the tar is cut or broken, a bad row says so and it ends."""
    last = None
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                last = member.name
                content = tar.extractfile(member) if member.isfile() else None
                own = member.name.removeprefix("./")
                if content is not None and not own.rpartition("/")[2].startswith("."):
                    passed = not images and Path(own).suffix.lower() in IMAGE_SUFFIXES
                    yield own, b"" if passed else content.read()
            end = tar.offset
    except tarfile.ReadError as error:
        if last is None:
            bad.add(None, name, "not a tar", f"{error}; its size is {size:,} bytes")
        else:
            bad.add(None, f"{name}, member {last}", "truncated tar", f"the file ends in this, after {size:,} bytes")
        return
    stream.seek(end)
    block = stream.read(tarfile.BLOCKSIZE)
    if block != _END:
        found = "ends without an end mark" if not block else "has a broken header"
        bad.add(None, f"{name}, after member {last}", "truncated tar", f"the file {found} at byte {end:,} of {size:,}")


def _take(sample: Sample, suffix: str, data: bytes) -> bool:
    """Put a member in its place in the sample; False if its kind is not known or its place is taken."""
    if f".{suffix}" in IMAGE_SUFFIXES:
        if sample.image is not None:
            sample.fault = ("ambiguous sample", "two images under one key; a key ends at its name's first dot")
        sample.image = data
        return True
    if suffix not in ("json", "txt", "cls"):
        return False
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sample.fault = ("not UTF-8", f"its .{suffix}: byte 0x{data[error.start]:02x} at offset {error.start:,}")
        return True
    if suffix == "json":
        fields = parse_object(text)
        if isinstance(fields, str):
            sample.fault = ("broken json", fields)
        else:
            for name, value in fields.items():
                taken = name in sample.columns or name in ("image", _KEY)
                sample.columns[f"original_{name}" if taken else name] = value
        return True
    name, value = ("text", text.splitlines()) if suffix == "txt" else ("label", text.strip())
    if name in sample.columns:
        sample.columns[f"original_{name}"] = sample.columns[name]
    sample.columns[name] = value
    return True
