"""Decode a table's images once, in workers, and keep the pixels; bad images are bad rows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
from datasets import Dataset

from diptych.core.configuration import describe
from diptych.data.bad_rows import BadRows
from diptych.data.images import BadImage
from diptych.data.processors import ImageProcessor
from diptych.data.store import Chunk, hash_of, stored
from diptych.data.views import Arrays, Processed, View

Progress = Callable[[int, int], None]
CHUNK = 256


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
    key = hash_of("pixels" if keep else "good", describe(processor), content_of(table, processor.column))
    found: dict[int, tuple[str, str]] = {}
    workers = (os.cpu_count() or 1) if workers is None else workers

    def fill() -> Iterator[Chunk]:
        for start, pixels, errors in _decode_all(column, processor, workers):
            found.update(errors)
            yield slice(start, start + len(pixels)), {"pixels": pixels} if keep else {}
            if progress:
                progress(start + len(pixels), len(table))

    fields = {"pixels": (processor.shape, "uint8")} if keep else {}
    kept = stored(key, len(table), fields, fill, lambda: list(found.items()))
    good = np.ones(len(table), dtype=bool)
    for row, (reason, detail) in kept.note:
        good[row] = False
        bad.add(row, column[row][processor.column].get("path") or table[row].get("id") or f"row {row}", reason, detail)
    return Arrays(kept.arrays, key) if keep else Processed(column[processor.column], processor, key), good


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
