"""Shards: tars and Parquet files of pairs, on this machine or behind a URL, each read from first to last.

What a table does once for a whole collection (choose columns, check rows) is done here pair by pair as
they stream by, so a collection need neither fit a disk nor be copied before training begins.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from rich.console import Console
from rich.progress import Progress

from diptych.data.bad_rows import BadRows
from diptych.data.cache import cache_root
from diptych.data.sources.columns import Columns, choose_columns
from diptych.data.sources.errors import TableError
from diptych.data.sources.opening import expand_braces, matches
from diptych.data.sources.raw import table_of
from diptych.data.sources.tar import read_samples

SUFFIXES = (".tar", ".parquet")
"""Endings of the files that may be shards."""

Rows = Generator[tuple[str, str, dict[str, Any]]]
"""Of every sample: what reports call it, its key, its columns."""

_FIRST = 100
_BUFFER = 1 << 20
_ROWS = 64


@dataclass(frozen=True)
class Pair:
    """An image and its texts, as they were found.

    Attributes:
        where: what reports call it: the shard, and its sample or row.
        id: by its column, else the shard's stem with the sample's key or the row's number.
        image: what `decode_image` takes.
        texts: one or more, none of them blank.
    """

    where: str
    id: str
    image: Any
    texts: list[str]


def list_shards(source: str | Path) -> tuple[str, ...]:
    """The shards that `source` names, in order.

    Args:
        source: a folder of tars (or, if it has none, of Parquet files), one such file, a pattern such as
            "shards/{0000..0123}.tar", or a URL that `fsspec` opens, in which only braces are a pattern.

    Raises:
        TableError: if there is none, one is missing, or one is of another kind.
    """
    name = str(source)
    if "://" in name:
        urls = tuple(expand_braces(name))
        other = [url for url in urls if PurePosixPath(url).suffix.lower() not in SUFFIXES]
        if other:
            raise TableError(f"{other[0]} is no {' or '.join(SUFFIXES)}; a stream is read from such files")
        return urls
    path = Path(source).expanduser()
    if path.is_dir():
        found = next((files for suffix in SUFFIXES if (files := sorted(path.glob(f"*{suffix}")))), None)
        if found is None:
            raise TableError(f"{path} holds no {' and no '.join(SUFFIXES)}; a stream is read from such files")
        return tuple(map(str, found))
    return tuple(map(str, matches(path, SUFFIXES)))


def shard_columns(
    shards: Sequence[str], *, image: str | None = None, text: str | None = None, id: str | None = None
) -> Columns:
    """Which columns are image, text and id: by the user's word, else by the names in the first readable shard.

    Raises:
        TableError: if no shard can be read, a column is missing or ambiguous, or images are paths.
    """
    bad = BadRows()
    for shard in shards:
        with closing(_rows(shard, bad, None)) as rows:
            first = [row for _, _, row in islice(_safely(shard, rows, bad), _FIRST)]
        if first:
            features = datasets.Features.from_arrow_schema(table_of(first).schema)
            chosen = choose_columns(features, shard, image=image, text=text, id=id)
            kind = features[chosen.image]
            if isinstance(kind, datasets.Value) and kind.dtype not in ("binary", "large_binary"):
                raise TableError(
                    f"column {chosen.image!r} of {shard} holds {kind.dtype}; a stream reads images that lie in its "
                    "shards: give another column by --image-column NAME, or open the collection as a table"
                )
            return chosen
    raise TableError(f"none of the {len(shards):,} shards holds a sample that can be read. {bad.summary()}")


def read_pairs(
    shard: str, columns: Columns, bad: BadRows, *, split: str | None = None, images: bool = True
) -> Iterator[Pair]:
    """The pairs of a shard, in order; what cannot be used is set aside with shard and sample named.

    Args:
        shard: path or URL.
        columns: from `shard_columns`.
        bad: takes what is no tar, where a tar is cut, samples without image or text ...
        split: only the pairs whose column `split` says this.
        images: read the images' bytes; without, only as much of the shard is read as texts and ids need.
    """
    stem = PurePosixPath(shard).stem
    with closing(_rows(shard, bad, None if images else columns.image)) as rows:
        for where, key, row in _safely(shard, rows, bad):
            if split is not None and row.get("split") != split:
                continue
            texts = [text for name in columns.texts for text in _strings(row.get(name)) if text.strip()]
            if not texts:
                bad.add(None, where, "empty text", "it has no text, or only white space")
                continue
            given = "" if columns.id is None or row.get(columns.id) is None else str(row[columns.id]).strip()
            yield Pair(where, given or f"{stem}/{key}", row.get(columns.image), texts)


def count_pairs(shards: Sequence[str], columns: Columns, *, split: str | None = None) -> list[int]:
    """How many pairs `read_pairs` gives of each shard: from the cache while a shard's size and time are the same.

    Raises:
        TableError: if a shard is remote: to count its pairs it would have to be read whole.
    """
    remote = next((shard for shard in shards if "://" in shard), None)
    if remote is not None:
        raise TableError(f"{remote} is remote and too slow to count; say how many pairs an epoch has")
    known = [_kept_count(shard, columns, split) for shard in shards]
    with Progress(console=Console(stderr=True), transient=True, disable=all(n.is_file() for n in known)) as progress:
        task = progress.add_task("counting pairs", total=len(shards))
        counts = []
        for shard, file in zip(shards, known, strict=True):
            if not file.is_file():
                count = sum(1 for _ in read_pairs(shard, columns, BadRows(), split=split, images=False))
                file.parent.mkdir(parents=True, exist_ok=True)
                scratch = file.with_name(f".{file.name}-{os.getpid()}")
                scratch.write_text(str(count))
                os.replace(scratch, file)
            counts.append(int(file.read_text()))
            progress.advance(task)
    return counts


def _kept_count(shard: str, columns: Columns, split: str | None) -> Path:
    """Where a shard's count is kept."""
    try:
        stat = Path(shard).stat()
        seen = (stat.st_size, stat.st_mtime_ns)
    except OSError:
        seen = None
    identity = repr((1, str(Path(shard).absolute()), seen, columns, split))
    return cache_root() / "counts" / blake2b(identity.encode(), digest_size=16).hexdigest()


def _strings(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _safely(shard: str, rows: Rows, bad: BadRows) -> Rows:
    """The rows up to where reading them fails; that is a bad row."""
    where = ""
    try:
        for one in rows:
            where = one[0]
            yield one
    except (OSError, pa.ArrowException) as error:
        bad.add(None, f"after {where}" if where else shard, "unreadable shard", str(error))


def _rows(shard: str, bad: BadRows, without: str | None) -> Rows:
    """Where it is, key, and columns of every sample; `without` the images in the column of that name."""
    with _open(shard) as stream:
        if PurePosixPath(shard).suffix.lower() == ".tar":
            for sample in read_samples(shard, stream, bad, images=without is None):
                yield f"{shard}, sample {sample.key}", sample.key, {"image": sample.image, **sample.columns}
        else:
            table = pq.ParquetFile(stream)
            names = [name for name in table.schema_arrow.names if name != without]
            number = 0
            for batch in table.iter_batches(_ROWS, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{shard}, row {number}", str(number - 1), row


def _open(shard: str) -> BinaryIO:
    """The shard's bytes, read in large pieces."""
    if "://" in shard:
        system, path = url_to_fs(shard)
        return system.open(path, "rb")
    return Path(shard).open("rb", buffering=_BUFFER)
