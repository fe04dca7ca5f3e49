"""Tables of paths and texts in one file: CSV, TSV, JSON lines, Parquet.

Each is read as its users mean it: text is UTF-8, cells that look like numbers are numbers except in
columns of texts, paths and ids, and a line that cannot be read is one bad row.
"""

import codecs
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.csv
from datasets.exceptions import DatasetGenerationError

from diptych.data.bad_rows import BadRows
from diptych.data.cache import cache_root
from diptych.data.sources.columns import string_columns
from diptych.data.sources.errors import TableError
from diptych.data.sources.raw import Part, Raw, stack, table_of

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Endings of the files that are read here."""

_DELIMITERS = ",\t;|"
_BLOCK = 16 << 20
_LINES = 2_000


def read_file(path: Path, bad: BadRows, *, chosen: Sequence[str | None] = ()) -> Raw:
    """Read one file; relative paths in it start from its folder.

    Parameters
    ----------
    path
        Of one of `SUFFIXES`.
    bad
        Takes the lines that cannot be read.
    chosen
        Names of columns the user gave: they are read as strings.

    Raises
    ------
    TableError
        If the file is not UTF-8, not of its kind, or has two columns of one name.
    """
    name, numbers, lines = str(path), None, path.suffix.lower() in (".jsonl", ".ndjson")
    if path.suffix.lower() == ".parquet":
        table = _read_parquet(path)
    else:
        _require_utf8(path)
        arrow, numbers = _read_lines(path, bad) if lines else _read_csv(path, bad, chosen)
        table = datasets.Dataset(arrow)  # pyright: ignore[reportArgumentType]
    unit = "line" if lines else "row"
    return Raw(name, table, [Part(name, len(table), folder=path.parent.absolute(), numbers=numbers, unit=unit)])


def _require_utf8(path: Path) -> None:
    """Raise a `TableError` that names the first byte that is not UTF-8, and its line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    with path.open("rb") as stream:
        while True:
            data = stream.read(1 << 20)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                raise TableError(
                    f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset "
                    f"{offset - pending + error.start:,}, line {line:,}; save the file again as UTF-8 "
                    f"(from Latin-1, for instance: iconv -f latin1 -t utf-8 {path.name} > new{path.suffix})"
                ) from error
            if not data:
                return
            offset += len(data)
            line += data.count(b"\n")


def _read_csv(path: Path, bad: BadRows, chosen: Sequence[str | None]) -> tuple[pa.Table, Sequence[int] | None]:
    """The table, and the row in the file of each of its rows, counted with the header as spreadsheets do."""
    names, delimiter = _header(path)
    skipped: list[pyarrow.csv.InvalidRow] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        skipped.append(row)
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            path,
            # One thread: only so does a row that is skipped know its number.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names, skip_rows_after_names=1),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(string_columns(names, chosen), pa.string())),
        )
    except pa.ArrowException as error:
        raise TableError(f"{path} cannot be read as a table with columns {', '.join(names)}: {error}") from error
    for row in skipped:
        detail = f"{row.actual_columns} cells, expected {row.expected_columns}: {row.text[:200]}"
        bad.add(None, f"{path}, row {row.number}", "broken line", detail)
    return table, _numbers(len(table), 2, {row.number for row in skipped})


def _header(path: Path) -> tuple[list[str], str]:
    """The names of a CSV's columns and what stands between them."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        line = stream.readline()
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=line.count)
        stream.seek(0)
        cells = next(csv.reader(stream, delimiter=delimiter), [])
    names = [cell.strip() or f"unnamed_{i}" for i, cell in enumerate(cells)]
    if not any(cell.strip() for cell in cells):
        raise TableError(f"{path} is empty; expected a first line that names the columns, such as: file_name,text")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{path} has several columns called {', '.join(twice)}; give each its own name")
    return names, delimiter


def _numbers(rows: int, first: int, skipped: set[int]) -> Sequence[int]:
    """Number in the file of each of `rows` rows, counted from `first`, where some were skipped."""
    if not skipped:
        return range(first, first + rows)
    return [number for number in range(first, first + rows + len(skipped)) if number not in skipped][:rows]


def _read_lines(path: Path, bad: BadRows) -> tuple[pa.Table, Sequence[int]]:
    """The table of a file of JSON lines, and the line of each of its rows."""
    tables, rows, numbers = [], [], []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            row = parse_object(line)
            if not row:
                row = "an object without fields"
            if isinstance(row, str):
                bad.add(None, f"{path}, line {number}", "broken line", row)
                continue
            rows.append(row)
            numbers.append(number)
            if len(rows) == _LINES:
                tables.append(table_of(rows))
                rows = []
    tables.append(table_of(rows))
    return stack(tables), numbers


def parse_object(text: str) -> dict[str, Any] | str:
    """The JSON object that `text` is, or a sentence that says why it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}: {text[:200]}"
    return value if isinstance(value, dict) else f"not a JSON object: {text[:200]}"


def _read_parquet(path: Path) -> datasets.Dataset:
    """A Parquet file through the cache of `datasets`, memory-mapped: it may hold the images' bytes."""
    try:
        return datasets.Dataset.from_parquet(str(path), cache_dir=str(cache_root() / "tables" / "parquet"))  # pyright: ignore[reportReturnType]
    except (OSError, ValueError, pa.ArrowException, DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise TableError(f"{path} cannot be read as Parquet: {cause}") from error
