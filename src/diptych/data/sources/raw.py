"""A source as it was read: columns under the names the user gave them, no row checked yet.

Every reader of this package ends in a `Raw`, and `conform` makes the table of it, so that a CSV, a
folder of tars and a hub dataset are checked by the same lines.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

_MOST_FIELDS = 256


@dataclass(frozen=True)
class Part:
    """A stretch of consecutive rows that came from one file.

    Attributes:
        name: what messages call it: "photos/train/metadata.csv".
        rows: how many there are.
        folder: where relative image paths start from; None where images come as bytes.
        prefix: put before an image path to make the row's id; "train/" for a split's own folder.
        split: the split all these rows belong to, if the place says so.
        keys: a name for each row, unique in the source, such as a tar's member; None: there is none.
        numbers: where in the file each row is, as its editor counts; None: 1, 2, 3 ...
        unit: what is counted: "row" or "line".
    """

    name: str
    rows: int
    folder: Path | None = None
    prefix: str = ""
    split: str | None = None
    keys: Sequence[str] | None = None
    numbers: Sequence[int] | None = None
    unit: str = "row"

    def where(self, i: int) -> str:
        """What a report calls row `i` of this part."""
        if self.keys is not None:
            return f"{self.name}, sample {self.keys[i]}"
        return f"{self.name}, {self.unit} {i + 1 if self.numbers is None else self.numbers[i]}"


@dataclass(frozen=True)
class Raw:
    """The rows of all parts, one after the other.

    Attributes:
        name: what messages call the source.
        table: its rows, with no image decoded.
        parts: where they came from; their `rows` sum to the table's.
    """

    name: str
    table: datasets.Dataset
    parts: Sequence[Part]

    def find(self, row: int) -> tuple[Part, int]:
        """The part that holds `row`, and the row's number in that part."""
        ends = list(accumulate(part.rows for part in self.parts)) if len(self.parts) > 1 else [len(self.table)]
        index = bisect_right(ends, row)
        return self.parts[index], row - (ends[index - 1] if index else 0)

    def where(self, row: int) -> str:
        """What a report calls `row`."""
        part, i = self.find(row)
        return part.where(i)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of JSON as Arrow columns, nested values and all; a column whose values do not agree becomes text.

    A column that mixes a string with a list of strings becomes lists; one that mixes other scalars,
    strings; one that mixes anything else (or has more than 256 keys in its objects), JSON strings.

    >>> table_of([{"a": 1, "b": "x"}, {"a": "two", "b": ["y", "z"]}]).to_pydict()
    {'a': ['1', 'two'], 'b': [['x'], ['y', 'z']]}
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def stack(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables one under the other; a column that some lack is null there, types that differ are made to agree."""
    names = dict.fromkeys(name for table in tables for name in table.column_names)
    columns = {name: _stack_column([_column(table, name) for table in tables]) for name in names}
    return pa.table(columns)


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name) if name in table.column_names else pa.chunked_array([pa.nulls(len(table))])


def _stack_column(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    try:
        tables = [pa.table({"column": column}) for column in columns]
        stacked = pa.concat_tables(tables, promote_options="permissive").column("column")
    except pa.ArrowException:
        return pa.chunked_array([_array([value for column in columns for value in column.to_pylist()])])
    return stacked if _is_sane(stacked.type) else pa.chunked_array([_array(stacked.to_pylist())])


def _array(values: list[Any]) -> pa.Array:
    try:
        array = pa.array(values)
        if _is_sane(array.type):
            return array
    except (pa.ArrowException, OverflowError):
        pass
    return pa.array(_agree(values))


def _is_sane(kind: pa.DataType) -> bool:
    """Whether objects in it have at least one key, and not so many that keys must be data."""
    if pa.types.is_struct(kind):
        return 0 < kind.num_fields <= _MOST_FIELDS and all(_is_sane(field.type) for field in _fields(kind))
    return not pa.types.is_list(kind) or _is_sane(kind.value_type)


def _fields(kind: pa.DataType) -> Iterable[pa.Field]:
    return (kind.field(i) for i in range(kind.num_fields))


def _agree(values: list[Any]) -> list[Any]:
    """Values that Arrow cannot hold in one column, as lists of strings, strings or JSON strings."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, str) or _is_texts(value) for value in there):
        return [[value] if isinstance(value, str) else value for value in values]
    scalar = not any(isinstance(value, list | dict) for value in there)
    return [
        value if value is None or (scalar and isinstance(value, str)) else json.dumps(value, ensure_ascii=False)
        for value in values
    ]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)
