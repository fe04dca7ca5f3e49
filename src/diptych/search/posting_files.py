"""How postings lie on disk: written block by block, opened by memory map and checked whole.

    header.json    format, counts, and dtype, shape and checksum (CRC-32) of every file below, and its own
    ids.bin        [N, 16] uint8 or [N] int64: the id of each row
    blocks.bin     [B, 3] int64: of each block how many terms it has, how many postings, and the exponent E
    terms.bin      [T] uint16 (uint32 if there are more than 65,536 terms): the terms of each block, ascending
    counts.bin     [T] uint16: how many rows of the block have that term, less one
    rows.bin       [P] uint16: which rows, counted from the first of the block, ascending
    weights.bin    [P] float16: their weights, divided by 2^E

A block is 65,536 rows, so that a row takes two bytes and the scores of a block fit a processor's cache. A posting (a
row that has a term) takes four bytes, a term of a block four (six of many terms), an id sixteen. All numbers are
little-endian, and nothing is compressed.

Weights are rounded to float16 after E, the same for a block, has brought its largest to 16,384 or above: each is within
2^-11 of itself, and those below 2^-28 of the block's largest within 2^-39 of that one. (Where that is below 2^-111,
which no weight means to be, fewer places are left.) Weights that round to 0 are left out, as those of 0 are. So a
score of positive weights is within 2^-11 of itself, sums in float32 aside. A byte a weight, scaled by row or by term,
would spare a quarter but be off by more than that wherever a weight is small beside the largest.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from diptych.data.replacing import absolute, replacement
from diptych.search.errors import IndexUnreadable
from diptych.search.vectors import Sparse

FORMAT = 1
HEADER = "header.json"

# Rows are uint16 within a block: never more than this.
BLOCK = 65_536

# float16 reaches 65,504 and has all its bits down to 2^-14: with the largest of a block at 2^14 to 2^15 as many
# binary places as can be lie below it, and rounding never reaches infinity.
_TOP = 15
# Of 2^E, so that it and its inverse are float32 numbers.
_LEAST_EXPONENT = -126

_DTYPES = {
    "ids": ("|u1", "<i8"),
    "blocks": ("<i8",),
    "terms": ("<u2", "<u4"),
    "counts": ("<u2",),
    "rows": ("<u2",),
    "weights": ("<f2",),
}
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Files:
    """What the files of postings hold; memory-mapped, read-only.

    Attributes:
        count: N, the rows.
        terms: how many terms there could be; theirs are 0 to `terms - 1`.
        block: rows in a block; the last may have fewer.
        arrays: name of a file without `.bin` -> its array.
        nbytes: bytes of all files, the header too.
    """

    count: int
    terms: int
    block: int
    arrays: Mapping[str, NDArray[Any]]
    nbytes: int


def write_files(folder: Path, ids: NDArray[Any], rows: Iterable[Sparse], terms: int) -> None:
    """As `Postings.write` says."""
    numbered = ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer) and np.can_cast(ids.dtype, np.int64)
    if not numbered and not (ids.ndim == 2 and ids.shape[1] == 16 and ids.dtype == np.uint8):
        raise ValueError(f"the ids are {ids.dtype} {list(ids.shape)}; expected uint8 [N, 16], or [N] of up to int64")
    dtypes = {name: choices[0] for name, choices in _DTYPES.items()}
    dtypes |= {"ids": "<i8" if numbered else "|u1", "terms": _term_dtype(terms)}
    with replacement(absolute(folder)) as fresh:
        with ExitStack() as stack:
            files = {name: stack.enter_context(_Column(fresh / f"{name}.bin", dtypes[name])) for name in dtypes}
            files["ids"].write(ids)
            for start, block in _blocks(rows, len(ids)):
                _write_block(files, _gathered(block, start, terms))
            columns = {name: file.column() for name, file in files.items()}
        columns["blocks"]["shape"] = [columns["blocks"]["shape"][0] // 3, 3]
        columns["ids"]["shape"] = list(ids.shape)
        facts = {"format": FORMAT, "count": len(ids), "terms": terms, "block": BLOCK, "files": columns}
        (fresh / HEADER).write_text(json.dumps({**facts, "crc32": _crc_of(facts)}, indent=1))


def open_files(folder: Path) -> Files:
    """As `Postings.open` says."""
    facts = _header(folder)
    arrays = {name: _opened(folder, name, facts["files"][name]) for name in _DTYPES}
    size = (folder / HEADER).stat().st_size + sum(array.nbytes for array in arrays.values())
    return Files(facts["count"], facts["terms"], facts["block"], arrays, size)


class _Column:
    """One file of numbers, written a piece at a time."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._file = path.open("wb")
        self._dtype = dtype
        self._count = self._crc = 0

    def __enter__(self) -> "_Column":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, array: NDArray[Any]) -> None:
        """More numbers, which the dtype of the file can hold."""
        data = np.ascontiguousarray(array, self._dtype).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._count += array.size

    def column(self) -> dict[str, Any]:
        """What the header says of it."""
        return {"dtype": self._dtype, "shape": [self._count], "crc32": self._crc}


def _blocks(rows: Iterable[Sparse], count: int) -> Iterator[tuple[int, list[Sparse]]]:
    """The rows of each block, with the number of the first.

    Raises:
        ValueError: if they are not `count`.
    """
    source, start = iter(rows), 0
    while block := list(islice(source, BLOCK)):
        if start + len(block) > count:
            raise ValueError(f"there are {count} ids, and rows beyond that")
        yield start, block
        start += len(block)
    if start < count:
        raise ValueError(f"there are {count} ids, but only {start} rows")


@dataclass(frozen=True)
class _Gathered:
    """The postings of a block, by term and then by row; none of weight 0."""

    terms: NDArray[np.unsignedinteger[Any]]
    rows: NDArray[np.uint16]
    weights: NDArray[np.float32]


def _gathered(block: list[Sparse], start: int, terms: int) -> _Gathered:
    """The postings of these rows.

    Raises:
        ValueError: if a row is not as `check_rows` leaves it; it names the row.
    """
    indices = [np.asarray(row.indices, np.int64) for row in block]
    values = [np.asarray(row.values, np.float32) for row in block]
    for number, (some, others) in enumerate(zip(indices, values, strict=True), start):
        if some.ndim != 1 or some.shape != others.shape:
            raise ValueError(
                f"row {number} has {list(some.shape)} indices and {list(others.shape)} values; expected as many of both"
            )
    lengths = np.array([len(one) for one in indices])
    all_terms, weights = np.concatenate(indices), np.concatenate(values)
    rows = np.repeat(np.arange(len(block)), lengths).astype(np.uint16)

    def refuse(bad: NDArray[np.bool_], what: str) -> None:
        if bad.any():
            raise ValueError(f"row {start + int(rows[int(bad.argmax())])} has {what}")

    refuse((all_terms < 0) | (all_terms >= terms), f"an index outside 0 to {terms - 1}")
    refuse(~np.isfinite(weights), "NaN or infinity for a weight")
    all_terms = all_terms.astype(_term_dtype(terms))  # sorted in a third of the time if 16 bits do
    order = np.argsort(all_terms, kind="stable")
    all_terms, rows, weights = all_terms[order], rows[order], weights[order]
    twice = np.zeros(len(rows), bool)
    twice[1:] = (all_terms[1:] == all_terms[:-1]) & (rows[1:] == rows[:-1])
    refuse(twice, "an index twice")
    return _Gathered(all_terms, rows, weights)


def _write_block(files: Mapping[str, _Column], block: _Gathered) -> None:
    """Append a block to the files."""
    _, exponent = np.frexp(np.abs(block.weights).max(initial=0))
    exponent = max(int(exponent) - _TOP, _LEAST_EXPONENT)
    weights = np.ldexp(block.weights, -exponent).astype(np.float16)
    kept = weights != 0
    there, counts = np.unique(block.terms[kept], return_counts=True)
    files["blocks"].write(np.array([len(there), int(kept.sum()), exponent]))
    files["terms"].write(there)
    files["counts"].write(counts - 1)
    files["rows"].write(block.rows[kept])
    files["weights"].write(weights[kept])


def _term_dtype(terms: int) -> str:
    """The narrowest that holds every term."""
    return "<u2" if terms <= 2**16 else "<u4"


def _header(folder: Path) -> dict[str, Any]:
    """What the header says, if it is whole.

    Raises:
        IndexUnreadable: if it is not, or of another format.
    """
    path = folder / HEADER
    try:
        found = json.loads(path.read_text())
        facts = {name: found[name] for name in ("format", "count", "terms", "block", "files")}
        crc = found["crc32"]
    except FileNotFoundError as error:
        raise IndexUnreadable(f"{path} is missing; rebuild the index with `diptych index`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"it is no header: {error}") from error
    if facts["format"] != FORMAT:
        raise IndexUnreadable(f"{path} is of format {facts['format']!r}; this Diptych reads format {FORMAT}")
    if crc != _crc_of(facts):
        raise _damaged(path, "its checksum is another")
    return facts


def _opened(folder: Path, name: str, column: Mapping[str, Any]) -> NDArray[Any]:
    """The array of one file, if it is what was written.

    Raises:
        IndexUnreadable: if it is not.
    """
    path = folder / f"{name}.bin"
    if column["dtype"] not in _DTYPES[name]:
        raise _damaged(path, f"it cannot be of {column['dtype']!r}")
    dtype, shape = np.dtype(column["dtype"]), tuple(column["shape"])
    expected = dtype.itemsize * int(np.prod(shape))
    try:
        length = path.stat().st_size
    except FileNotFoundError as error:
        raise IndexUnreadable(f"{path} is missing; rebuild the index with `diptych index`") from error
    if length != expected:
        raise _damaged(path, f"it has {length:,} bytes and should have {expected:,}")
    if _crc_of_file(path) != column["crc32"]:
        raise _damaged(path, "its checksum is another")
    if expected == 0:  # nothing to map
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", shape=cast(Any, shape)))  # a plain array is sliced far faster


def _damaged(path: Path, how: str) -> IndexUnreadable:
    return IndexUnreadable(f"{path} is damaged ({how}); rebuild the index with `diptych index`")


def _crc_of(facts: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


def _crc_of_file(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_AT_ONCE):
            crc = zlib.crc32(piece, crc)
    return crc
