"""Decode a table's images once, in workers, and keep the pixels; bad images are bad rows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from diptych.core.configuration import describe
from diptych.data.bad_rows import BadRows
from diptych.data.images import BadImage
from diptych.data.processors import ImageProcessor
from diptych.data.store import Chunk, hash_of, stored
from diptych.data.views import Arrays

Progress = Callable[[int, int], None]
CHUNK = 256


def pixels_of(
    table: Dataset,
    processor: ImageProcessor,
    *,
    bad: BadRows,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Arrays, np.ndarray]:
    """The pixels of every row, from the store or decoded now.

    Args:
        table: with the processor's column, undecoded.
        processor: decodes and resizes.
        bad: told of every image that could not be decoded, also where that was found in an earlier run.
        workers: decoding threads; default: one a core.
        progress: called with (rows done, rows in all).

    Returns:
        A view of `{"pixels": [rows, C, H, W] uint8}`, and `[rows]` bool: which rows are good.
    """
    column = table.select_columns([processor.column])
    key = hash_of("pixels", describe(processor), content_of(table, processor.column))
    found: dict[int, tuple[str, str]] = {}
    workers = (os.cpu_count() or 1) if workers is None else workers

    def fill() -> Iterator[Chunk]:
        for start, pixels, errors in _decode_all(column, processor, workers):
            found.update(errors)
            yield slice(start, start + len(pixels)), {"pixels": pixels}
            if progress:
                progress(start + len(pixels), len(table))

    kept = stored(key, len(table), {"pixels": (processor.shape, "uint8")}, fill, lambda: list(found.items()))
    good = np.ones(len(table), dtype=bool)
    for row, (reason, detail) in kept.note:
        good[row] = False
        bad.add(row, str(where_is(column[row][processor.column], row)), reason, detail)
    return Arrays(kept.arrays), good


def where_is(value: Any, row: int) -> str:
    """A name for an image in messages: its path, or its row."""
    path = value.get("path") if isinstance(value, dict) else None
    return path or f"row {row}"


def content_of(table: Dataset, column: str) -> str:
    """A hash of a column of images: of their bytes, or of the paths, sizes and times of their files."""
    digests = []
    for batch in table.select_columns([column]).with_format("arrow").iter(4096):
        structs = batch[column].combine_chunks()  # type: ignore[index, union-attr]
        paths, contents = structs.field("path").to_pylist(), structs.field("bytes")
        for i, path in enumerate(paths):
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
    starts = range(0, len(column), CHUNK)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: deque[Future] = deque()
        for start in starts:
            waiting.append(pool.submit(_decode, column, processor, start))
            if len(waiting) > 2 * workers:  # so that memory holds a few chunks, not the table
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _decode(column: Dataset, processor: ImageProcessor, start: int) -> tuple[int, np.ndarray, dict]:
    values = column[start : start + CHUNK][processor.column]
    pixels = np.zeros((len(values), *processor.shape), np.uint8)
    errors = {}
    for i, value in enumerate(values):
        try:
            pixels[i] = processor.one(value)
        except BadImage as error:
            errors[start + i] = (error.reason, str(error))
    return start, pixels, errors
