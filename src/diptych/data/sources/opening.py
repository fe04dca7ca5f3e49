"""`open_table`: whatever holds a user's images and texts, opened as one kind of table."""

import glob
import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import datasets

from diptych.data import tables
from diptych.data.bad_rows import BadRows
from diptych.data.sources.columns import choose_columns
from diptych.data.sources.conform import conform
from diptych.data.sources.errors import TableError
from diptych.data.sources.files import SUFFIXES, read_file
from diptych.data.sources.folder import metadata_files, read_images, read_metadata
from diptych.data.sources.hub import is_saved, read_hub, read_saved
from diptych.data.sources.raw import Raw
from diptych.data.sources.tar import read_tars

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def open_table(
    source: str | Path,
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    needs_text: bool = True,
    bad: BadRows | None = None,
) -> datasets.Dataset:
    """Open a collection of images and texts as a table, without decoding any image.

    What `source` may be:

    - a folder with images and `metadata.csv`, `.jsonl` or `.parquet` (column `file_name`), or with such
      sub folders `train`, `test` ..., which are its splits; or with a `.txt` of captions beside each image;
    - a CSV, TSV, JSON lines or Parquet file of image paths (absolute, or from the file's folder) and
      texts; Parquet may hold the images themselves;
    - WebDataset tars: one, a folder of `*.tar`, or a pattern such as "shards/{000..127}.tar";
    - a folder written by `save_to_disk`;
    - a dataset of the Hugging Face hub, "org/name", "hf:org/name" or "hf:org/name:config"; a name
      whose first half is a folder here is taken for a path, so there write "hf:";
    - a built-in table by its name, such as "symbols". A folder or file of that name is opened if it is
      written as a path ("./symbols") or given as a `Path`.

    Rows that share an image path are merged into one with many texts where there is no id column.

    Parameters
    ----------
    source
        See above.
    image_column, text_column, id_column
        Name of the column of images (or paths), of texts, of ids; guessed from names and types if
        None. Of numbered text columns (caption_0, caption_1 ...) give the stem ("caption").
    needs_text
        Whether images without a text are set aside; else their list of texts is empty, as where there is no
        column of texts at all.
    bad
        Takes the rows set aside: missing file, empty text, no image, broken line, truncated tar ...

    Returns
    -------
    datasets.Dataset
        The columns

        - `image`: `datasets.Image(decode=False)`: `{"bytes": ..., "path": ...}`, to be read at `path` if bytes is None;
        - `text`: a list of one or more strings (or none, see `needs_text`), as they were, blank ones dropped;
        - `id`: a string; where the source has none its image's path without suffix, its sample's
          key, or its row number, so that the same source gives the same ids;
        - `split`: a string or None; only if the source says it;
        - every other column of the source under its name, or `original_...` if that is one of these four.

    Raises
    ------
    TableError
        If the source is not found or cannot be read, a column is missing or ambiguous, or no row is
        usable. The message says what was found and what to do.

    Examples
    --------
    >>> table = open_table("captions.csv", text_column="title")  # doctest: +SKIP
    >>> table[0]["image"], table[0]["text"]  # doctest: +SKIP
    ({'bytes': None, 'path': '/photos/1.jpg'}, ['a dog on a beach'])
    """
    if isinstance(source, str) and source in built_in_tables():
        return importlib.import_module(f"{tables.__name__}.{source}").load()
    found = BadRows()
    try:
        raw = _read(source, found, (image_column, text_column, id_column), needs_text)
        if not len(raw.table):
            raise TableError(f"{raw.name} has no rows{_why(found)}; expected at least one image with a text")
        columns = choose_columns(
            raw.table.features, raw.name, image=image_column, text=text_column, id=id_column, needs_text=needs_text
        )
        table, troubles = conform(raw, columns, needs_text=needs_text)
        found.extend(troubles)
        if not len(table):
            raise TableError(f"none of the {len(raw.table):,} rows of {raw.name} can be used{_why(found)}")
        return table
    finally:
        if bad is not None:
            bad.extend(found)


def built_in_tables() -> list[str]:
    """Names of the tables that come with Diptych: the modules of `diptych.data.tables`, each with a `load`."""
    return sorted(module.name for module in pkgutil.iter_modules(tables.__path__) if not module.name.startswith("_"))


def _read(source: str | Path, bad: BadRows, chosen: tuple[str | None, ...], needs_text: bool) -> Raw:
    """Find out what the source is, and read it."""
    name, path = str(source), Path(source).expanduser()
    if name.startswith("hf:"):
        return read_hub(name.removeprefix("hf:"))
    if path.is_dir():
        return _read_folder(path, bad, chosen, needs_text)
    if path.is_file():
        return _read_one(path, bad, chosen)
    if any(sign in name for sign in "*?[{"):
        return read_tars(name, matches(path), bad)
    if isinstance(source, str) and _HUB_NAME.fullmatch(name) and not path.parent.is_dir():
        return read_hub(name)
    raise TableError(_not_found(path))


def _read_one(path: Path, bad: BadRows, chosen: tuple[str | None, ...]) -> Raw:
    suffix = path.suffix.lower()
    if suffix == ".tar":
        return read_tars(str(path), [path], bad)
    if suffix in SUFFIXES:
        return read_file(path, bad, chosen=chosen)
    raise TableError(f"{path} ends in {suffix or 'nothing'}; expected a file ending in .tar, {', '.join(SUFFIXES)}")


def _read_folder(folder: Path, bad: BadRows, chosen: tuple[str | None, ...], needs_text: bool) -> Raw:
    if is_saved(folder):
        return read_saved(folder)
    if metadata_files(folder):
        return read_metadata(folder, bad, chosen=chosen)
    tars = sorted(folder.glob("*.tar"))
    if tars:
        return read_tars(str(folder), tars, bad)
    if any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return read_hub(str(folder.absolute()))
    return read_images(folder, bad, needs_text=needs_text)


def matches(pattern: Path, suffixes: Sequence[str] = (".tar",)) -> list[Path]:
    """The files that a pattern with *, ?, [abc], {a,b} or {000..127} names, sorted within each alternative.

    Raises
    ------
    TableError
        If there is none, one that is named is missing, or one has another suffix.
    """
    single = [Path(one) for one in expand_braces(str(pattern))]
    paths = [path for one in single for path in sorted(Path(one.anchor).glob(str(one.relative_to(one.anchor))))]
    missing = [one for one in single if not glob.has_magic(str(one)) and not one.is_file()]
    if missing or not paths:
        what = f"{len(missing):,} of its files are missing, the first {missing[0]}" if missing else "no file matches"
        raise TableError(f"{pattern}: {what}; expected tars of one collection, as by 'shards/{{000..127}}.tar'")
    others = [path for path in paths if path.suffix.lower() not in suffixes]
    if others:
        raise TableError(
            f"{pattern} matches {others[0]}, which is no {' or '.join(suffixes)}; it may name nothing else"
        )
    return list(dict.fromkeys(paths))


def expand_braces(pattern: str) -> Iterator[str]:
    """The patterns that {a,b} and {08..11} in `pattern` stand for, in order.

    >>> list(expand_braces("{a,b}-{08..10}.tar"))[:4]
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar']
    """
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    span = _RANGE.fullmatch(match[1])
    numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
    choices = [str(number).zfill(len(span[1])) for number in numbers] if span else match[1].split(",")
    for choice in choices:
        yield from expand_braces(pattern[: match.start()] + choice + pattern[match.end() :])


def _why(bad: BadRows) -> str:
    """What was set aside, with the first of each reason, as the rest of a sentence."""
    first = {entry.reason: entry for entry in reversed(list(bad))}
    reasons = (
        f"{count:,} {reason} (the first: {first[reason].where}: {first[reason].detail})"
        for reason, count in bad.by_reason().items()
    )
    return ": " + "; ".join(reasons) if len(bad) else ""


def _not_found(path: Path) -> str:
    """That there is no such path, and what there is of a similar name."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    lost = path.absolute().relative_to(parent).parts[0]
    siblings = [sibling.name for sibling in parent.iterdir()]
    near = [str(parent / name) for name in get_close_matches(lost, siblings, n=3)]
    if len(path.parts) == 1:
        near += get_close_matches(path.name, built_in_tables(), n=1)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"there is no {path} (nothing called {lost!r} in {parent}).{meant} Expected a folder, a file, a pattern of "
        f"tars, a hub name (hf:org/name) or a built-in table ({', '.join(built_in_tables())})"
    )
