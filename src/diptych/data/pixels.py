"""Decode a table's images once, in workers, and keep the pixels; bad images are bad rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
from datasets import Dataset

from diptych.core.configuration import describe
from diptych.data.bad_rows import BadRows
from diptych.data.images import BadImage
from diptych.data.processors import ImageProcessor
from diptych.data.store import Chunk, Stored, hash_of, stored
from diptych.data.threads import usable_cores
from diptych.data.views import Arrays, Joined, Processed, View

Progress = Callable[[int, int], None]
CHUNK = 256
BLOCK_BYTES = 1 << 28
"""Pixels of a block at least, but for the last: what is as large as this is mapped into memory, not read."""
BLOCK_ROWS = 1 << 16
"""Rows of a block where no pixels are kept."""


def pixels_of(
    table: Dataset,
    processor: ImageProcessor,
    *,
    bad: BadRows,
    keep: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[View, np.ndarray]:
    """The pixels of every row, from the store or decoded now.

    They are stored in blocks, each kept once it is decoded, so what was interrupted goes on with the next block, and
    of a table to which rows were added only the last block is decoded again.

    Args:
        table: with the processor's column, undecoded.
        processor: decodes and resizes.
        bad: told of every image that could not be decoded, also where that was found in an earlier run.
        keep: store the pixels; else only which images are bad, and decode again whenever a batch is taken.
        workers: decoding threads; default: one a core.
        progress: called with (rows done, rows in all).

    Returns:
        A view of `{"pixels": [rows, C, H, W] uint8}`, and `[rows]` bool: which rows are good.
    """
    column = table.select_columns([processor.column])
    workers = usable_cores() if workers is None else workers
    rows = -(-BLOCK_BYTES // int(np.prod(processor.shape))) if keep else BLOCK_ROWS
    good = np.ones(len(table), dtype=bool)
    views, keys = [], []
    for first in range(0, len(table), rows) or [0]:
        block = column.select(range(first, min(first + rows, len(table))))
        tell = progress and partial(_tell, progress, first, len(table))
        key, kept = _stored_block(block, processor, keep, workers, tell)
        keys.append(key)
        views.append(Arrays(kept.arrays, key))
        for i, (reason, detail) in kept.note:
            row = first + i
            good[row] = False
            where = column[row][processor.column].get("path") or table[row].get("id") or f"row {row}"
            bad.add(row, where, reason, detail)
    if not keep:
        return Processed(column[processor.column], processor, hash_of(keys)), good
    return views[0] if len(views) == 1 else Joined(views, hash_of(keys)), good


def _tell(progress: Progress, first: int, rows: int, done: int) -> None:
    progress(first + done, rows)


def _stored_block(
    block: Dataset, processor: ImageProcessor, keep: bool, workers: int, tell: Callable[[int], None] | None
) -> tuple[str, Stored]:
    """The key and the pixels of some rows; the note has (row, (reason, detail)) of those that could not be decoded."""
    found: dict[int, tuple[str, str]] = {}

    def fill() -> Iterator[Chunk]:
        for start, pixels, errors in _decode_all(block, processor, workers):
            found.update(errors)
            yield slice(start, start + len(pixels)), {"pixels": pixels} if keep else {}
            if tell:
                tell(start + len(pixels))

    key = hash_of("pixels" if keep else "good", describe(processor), content_of(block, processor.column))
    fields = {"pixels": (processor.shape, "uint8")} if keep else {}
    return key, stored(key, len(block), fields, fill, lambda: list(found.items()))


def content_of(table: Dataset, column: str) -> str:
    """A hash of a column of images: of their bytes, or of the paths, sizes and times of their files."""
    digests = []
    for batch in table.select_columns([column]).with_format("arrow").iter(4096):
        for structs in batch[column].chunks:  # type: ignore[index, union-attr]
            contents = structs.field("bytes")
            for i, path in enumerate(structs.field("path").to_pylist()):
                content = contents[i].as_buffer()
                digests.append(_stat(path) if content is None else hash_of(bytes(content)))
    return hash_of(digests)


def _stat(path: str | None) -> list[str | int]:
    try:
        seen = Path(path or "").stat()
    except OSError:
        return [str(path), -1]
    return [str(path), seen.st_size, seen.st_mtime_ns]


def _decode_all(column: Dataset, processor: ImageProcessor, workers: int) -> Iterator[tuple[int, np.ndarray, dict]]:
    """Chunks in order: first row, pixels, and row -> (reason, detail) of what could not be decoded.

    The workers are threads: Pillow decodes and resizes outside the interpreter's lock.
    """
    stop = Event()
    pool = ThreadPoolExecutor(max(1, workers))
    waiting: deque[Future] = deque()
    try:
        for start in range(0, len(column), CHUNK):
            waiting.append(pool.submit(_decode, column, processor, start, stop))
            if len(waiting) > 2 * workers:  # so that memory holds a few chunks, not the table
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also on Ctrl-C: nobody waits for what is still queued
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _decode(column: Dataset, processor: ImageProcessor, start: int, stop: Event) -> tuple[int, np.ndarray, dict]:
    values = column[start : start + CHUNK][processor.column]
    pixels = np.zeros((len(values), *processor.shape), np.uint8)
    errors = {}
    for i, value in enumerate(values):
        if stop.is_set():
            break
        try:
            pixels[i] = processor.one(value)
        except BadImage as error:
            errors[start + i] = (error.reason, error.detail)
    return start, pixels, errors
