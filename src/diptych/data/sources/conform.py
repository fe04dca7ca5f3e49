"""From a source as it was read to a table: columns named, every row checked, bad ones set aside.

No image is decoded here; what is checked is what can be known without: that a path leads to a file,
that bytes are there, that a text says something.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diptych.data.bad_rows import BadRow
from diptych.data.sources.columns import Columns, is_image
from diptych.data.sources.errors import TableError
from diptych.data.sources.raw import Part, Raw
from diptych.data.sources.selection import keep_rows

log = logging.getLogger(__name__)

IMAGE = datasets.Image(decode=False)
TEXTS = datasets.List(datasets.Value("string"))
STRING = datasets.Value("string")

_OURS = ("image", "text", "id", "split")
_BATCH = 10_000


def conform(raw: Raw, columns: Columns, *, needs_text: bool = True) -> tuple[datasets.Dataset, list[BadRow]]:
    """Check every row of `raw` and name its columns `image`, `text`, `id` and, if it says any, `split`.

    Rows of one image path and no id column are merged, texts in their order: the usual CSV of one
    caption a row. Of the other columns the value in the first of such rows is kept.

    Parameters
    ----------
    raw
        The source; its image column holds paths, bytes, or both in a struct.
    columns
        Its names for them.
    needs_text
        Whether rows without a text are set aside.

    Returns
    -------
    tuple[datasets.Dataset, list[BadRow]]
        The good rows, in order, and why each other was set aside.

    Raises
    ------
    TableError
        If the image column holds what cannot be an image.
    """
    table = _undecoded(raw, columns.image)
    by_path = table.features[columns.image] == STRING
    written = _strings(table, columns.image) if by_path else [None] * len(table)
    paths = list(_resolve(raw.parts, written))
    texts = _without_blanks(raw, list(_texts(table, columns.texts)))
    bad = list(
        _check(raw, texts, _path_troubles(paths) if by_path else _byte_troubles(table, columns.image), needs_text)
    )
    dropped = {entry.row for entry in bad}
    kept = [row for row in range(len(table)) if row not in dropped]
    if by_path and columns.id is None:
        kept = _merge(raw, kept, paths, texts)
    ids = _ids(table, columns.id, _made_ids(raw.parts, written))
    _note_shared(raw, kept, ids, paths)

    ours: dict[str, tuple[list, object]] = {"text": (texts, TEXTS), "id": (ids, STRING)}
    splits = _splits(raw.parts, table)
    if splits is not None:
        ours["split"] = (splits, STRING)
    if by_path:
        ours["image"] = ([{"bytes": None, "path": path} for path in paths], IMAGE)
    good = keep_rows(_assemble(table, columns, ours), kept)
    front = [name for name in _OURS if name in good.column_names]
    return good.select_columns([*front, *(name for name in good.column_names if name not in front)]), bad


def _undecoded(raw: Raw, image: str) -> datasets.Dataset:
    """The table with its image column as strings (paths) or as bytes and path, never decoded."""
    table, feature = raw.table, raw.table.features[image]
    if not is_image(feature):
        raise TableError(
            f"column {image!r} of {raw.name} holds {feature}; expected images, their bytes or their paths: "
            f"give another column by --image-column NAME"
        )
    for name, other in table.features.items():  # no picture is decoded by accident
        if isinstance(other, datasets.Image):
            table = table.cast_column(name, IMAGE)
    if isinstance(feature, datasets.Image):
        return table
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string", "null"):
        return table if feature == STRING else table.cast_column(image, STRING)
    # Batch by batch and through the disk where the table lies on one: its bytes may not fit in memory.
    return table.cast(datasets.Features({**table.features, image: IMAGE}))


def _values(table: datasets.Dataset, column: str) -> Iterator:
    """The values of one column as Python objects, batch by batch; labels by their names."""
    feature = table.features[column]
    for batch in table.select_columns(column).with_format("arrow").iter(_BATCH):
        for value in batch[column].to_pylist():  # pyright: ignore[reportCallIssue, reportArgumentType]
            if isinstance(feature, datasets.ClassLabel) and value is not None:
                yield feature.int2str(value)
            else:
                yield value


def _strings(table: datasets.Dataset, column: str) -> list[str | None]:
    return [value if value is None else str(value) for value in _values(table, column)]


def _texts(table: datasets.Dataset, columns: Sequence[str]) -> Iterator[list[str | None]]:
    """The texts of each row, of all text columns."""
    if not columns:
        yield from ([] for _ in range(len(table)))
        return
    for row in zip(*(_values(table, column) for column in columns), strict=True):
        yield [text for value in row for text in ([value] if isinstance(value, str) else value or ())]


def _without_blanks(raw: Raw, texts: Sequence[Sequence[str | None]]) -> list[list[str]]:
    """The texts that say something, untouched."""
    good = [[text for text in row if text and text.strip()] for row in texts]
    blank = sum(len(row) - len(own) for row, own in zip(texts, good, strict=True) if own)
    if blank:
        log.info("%s: %d blank texts dropped from rows that have others", raw.name, blank)
    return good


def _resolve(parts: Sequence[Part], written: Sequence[str | None]) -> Iterator[str | None]:
    """Paths as files are opened by: absolute, from the folder of their part."""
    rows = iter(written)
    for part in parts:
        for _, path in zip(range(part.rows), rows, strict=False):
            if not path or part.folder is None or "://" in path:
                yield path
            else:
                yield os.path.normpath(part.folder / path)


def _check(
    raw: Raw, texts: Sequence[Sequence[str]], troubles: Mapping[int, tuple[str, str]], needs_text: bool
) -> Iterator[BadRow]:
    """Every row that cannot be used, with the first reason found: its image, else its texts."""
    for row, own in enumerate(texts):
        if row in troubles:
            yield BadRow(row, raw.where(row), *troubles[row])
        elif not own and needs_text:
            yield BadRow(row, raw.where(row), "empty text", "it has no text, or only white space")


def _path_troubles(paths: Sequence[str | None]) -> dict[int, tuple[str, str]]:
    """Row -> reason and detail, of the rows whose path leads to no file."""
    is_file = lru_cache(maxsize=1 << 16)(os.path.isfile)  # rows of one image follow one another
    troubles = {}
    for row, path in enumerate(paths):
        if not path or not path.strip():
            troubles[row] = ("no image", "the path is empty")
        elif "://" in path:
            troubles[row] = ("remote image", f"{path} is no file: download it first, for instance with img2dataset")
        elif not is_file(path):
            troubles[row] = ("missing file", path)
    return troubles


def _byte_troubles(table: datasets.Dataset, image: str) -> dict[int, tuple[str, str]]:
    """Row -> reason and detail, of the rows without bytes and without a path that leads to a file."""
    column = table.data.column(image)
    lengths = pc.binary_length(pc.struct_field(column, "bytes"))  # pyright: ignore[reportAttributeAccessIssue]
    lengths = pc.fill_null(lengths, -1).to_numpy()
    troubles = {}
    for row in np.flatnonzero(lengths <= 0).tolist():
        path = (column[row].as_py() or {}).get("path")
        if lengths[row] == 0:
            troubles[row] = ("empty file", path or "")
        elif not path:
            troubles[row] = ("no image", "neither bytes nor a path")
        elif not Path(path).is_file():
            troubles[row] = ("missing file", path)
    return troubles


def _merge(raw: Raw, kept: list[int], paths: Sequence[str | None], texts: list[list[str]]) -> list[int]:
    """Gather the texts of all kept rows of one image in the first of them; returns these first rows."""
    first: dict[str | None, int] = {}
    for row in kept:
        home = first.setdefault(paths[row], row)
        if home != row:
            texts[home] = texts[home] + texts[row]
    if len(first) < len(kept):
        log.info("%s: %d rows merged into %d, one an image", raw.name, len(kept), len(first))
    return list(first.values())


def _ids(table: datasets.Dataset, column: str | None, made: list[str]) -> list[str]:
    """The ids the source gives, and a made one where it gives none."""
    if column is None:
        return made
    given = _strings(table, column)
    return [own.strip() if own and own.strip() else other for own, other in zip(given, made, strict=True)]


def _made_ids(parts: Sequence[Part], written: Sequence[str | None]) -> list[str]:
    """An id for each row: the key of its sample, else its image's path without the suffix, else its number.

    The suffix stays where two images differ in nothing else, for they may show different things.
    """
    rows, start = [], 0
    for part in parts:
        for i, path in enumerate(written[start : start + part.rows]):
            own = part.keys[i] if part.keys is not None else os.path.normpath(path) if path else str(i)
            rows.append((part.prefix + own, part.keys is None and bool(path)))
        start += part.rows
    stems = {name: name.removesuffix(PurePosixPath(name).suffix) if is_path else name for name, is_path in rows}
    sharing = Counter(stems.values())
    return [stems[name] if sharing[stems[name]] == 1 else name for name, _ in rows]


def _splits(parts: Sequence[Part], table: datasets.Dataset) -> list[str | None] | None:
    """The split of each row: by the place its part lies at, else by a column `split`; None if neither says any."""
    given = _strings(table, "split") if "split" in table.features else None
    column = None if given is None else [(own or "").strip() or None for own in given]
    if all(part.split is None for part in parts):
        return column
    placed = [part.split for part in parts for _ in range(part.rows)]
    return placed if column is None else [own or other for own, other in zip(placed, column, strict=True)]


def _note_shared(raw: Raw, kept: Sequence[int], ids: Sequence[str], paths: Sequence[str | None]) -> None:
    """Log what is no fault but decides who is whose positive."""
    rows = Counter(ids[row] for row in kept)
    shared = sum(count > 1 for count in rows.values())
    if shared:
        log.info("%s: %d ids are shared by several rows, which count as views of one thing", raw.name, shared)
    pairs = {(paths[row], ids[row]) for row in kept if paths[row]}
    several = sum(count > 1 for count in Counter(path for path, _ in pairs).values())
    if several:
        log.warning(
            "%s: %d images occur under several ids and so count as different things; "
            "if they are the same, name the column that says so: --id-column NAME",
            raw.name,
            several,
        )


def _assemble(table: datasets.Dataset, columns: Columns, ours: Mapping[str, tuple[list, object]]) -> datasets.Dataset:
    """Put our columns beside the source's others; those of the source that bear one of our names make way."""
    features = datasets.Features({name: feature for name, (_, feature) in ours.items()})
    arrays = [pa.array(values, type=features.arrow_schema.field(name).type) for name, (values, _) in ours.items()]
    made = datasets.Dataset(pa.Table.from_arrays(arrays, schema=features.arrow_schema))

    used = {*columns.texts, columns.id} | ({columns.image} if "image" in ours else set())
    used |= {"split"} if "split" in ours else set()
    others = table.select_columns([name for name in table.column_names if name not in used])
    names = {n: _free(f"original_{n}", table) for n in others.column_names if n in _OURS and n != columns.image}
    others = others.rename_columns(names)
    if "image" not in ours and columns.image != "image":
        others = others.rename_column(columns.image, "image")
    return datasets.concatenate_datasets([made, others], axis=1) if others.column_names else made


def _free(name: str, table: datasets.Dataset) -> str:
    """`name`, with as many underscores as it takes to be new to `table`."""
    while name in table.column_names:
        name += "_"
    return name
