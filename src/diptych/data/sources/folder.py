"""A folder of image files with their texts: in `metadata.csv` (or .jsonl, .parquet), or in a `.txt` beside each.

The first is the convention of the Hugging Face `imagefolder`: the column `file_name` holds paths
relative to the metadata's folder; sub folders such as `train` and `test`, each with metadata of its
own, are splits.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import datasets

from diptych.data.bad_rows import BadRows
from diptych.data.sources.columns import names_images
from diptych.data.sources.errors import TableError
from diptych.data.sources.files import SUFFIXES, read_file
from diptych.data.sources.raw import Part, Raw, stack, table_of

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
"""Endings of the files taken for images."""

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"})
"""Names of folders that make a split of what lies in them."""

_STRING = datasets.Value("string")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FEATURES = datasets.Features({"image": datasets.Value("string"), "text": datasets.List(datasets.Value("string"))})


def metadata_files(folder: Path) -> list[Path]:
    """The metadata of `folder` and of its sub folders, in the order of their names."""
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [path for place in folders for name in _METADATA if (path := place / name).is_file()]


def read_metadata(folder: Path, bad: BadRows, *, chosen: Sequence[str | None] = ()) -> Raw:
    """Read the images that the metadata of `folder` and its sub folders name.

    Parameters
    ----------
    folder
        One for which `metadata_files` finds any.
    bad
        Takes the lines that cannot be read.
    chosen
        Names of columns the user gave.

    Raises
    ------
    TableError
        If a file of metadata cannot be read.
    """
    raws = [read_file(path, bad, chosen=chosen) for path in metadata_files(folder)]
    _note_unnamed(folder, raws, chosen)
    parts = [_placed(folder, raw.parts[0]) for raw in raws]
    if len(raws) == 1:
        return Raw(str(folder), raws[0].table, parts)
    tables = [raw.table.with_format("arrow")[:] for raw in raws]
    return Raw(str(folder), datasets.Dataset(stack(tables)), parts)  # pyright: ignore[reportArgumentType]


def _note_unnamed(folder: Path, raws: Sequence[Raw], chosen: Sequence[str | None]) -> None:
    """Log how many pictures of the folder no metadata names: they are left out, perhaps by mistake."""
    named: set[str] = set()
    for raw in raws:
        for column, feature in raw.table.features.items():
            if feature == _STRING and (column in chosen or names_images(column)):
                place = raw.parts[0].folder or folder
                named.update(os.path.normpath(place / str(path)) for path in raw.table[column][:] if path)
    left_out = sum(os.path.normpath(image.absolute()) not in named for image in _images(folder))
    if left_out:
        files = " or ".join(str(Path(raw.name).relative_to(folder)) for raw in raws)
        log.info("%s: %d pictures are left out: no row of %s names them", folder, left_out, files)


def _placed(folder: Path, part: Part) -> Part:
    """The part with what its place in `folder` says: a prefix for its ids, and the split."""
    within = Path(part.name).parent.relative_to(folder)
    if within == Path():
        return part
    split = within.name if within.name.lower() in SPLIT_NAMES else None
    return replace(part, prefix=f"{within.as_posix()}/", split=split)


def read_images(folder: Path, bad: BadRows, *, needs_text: bool = True) -> Raw:
    """Read the images of `folder`, at any depth, each with the captions in the `.txt` beside it, one a line.

    Parameters
    ----------
    folder
        Any. Images below a first sub folder with one of `SPLIT_NAMES` are of that split.
    bad
        Takes images without a `.txt`, and `.txt` that are not UTF-8.
    needs_text
        Whether every image needs one; else those without have no texts.

    Raises
    ------
    TableError
        If there is no image, or no `.txt` beside any: a folder's name is no text for what is in it.
    """
    images = sorted(_images(folder))
    if not images:
        raise TableError(_nothing(folder))
    if needs_text and not any(image.with_suffix(".txt").is_file() for image in images):
        raise TableError(_no_texts(folder, images))
    rows: dict[str | None, list[dict[str, object]]] = {}
    for image in images:
        texts = _captions(image, bad) if needs_text or image.with_suffix(".txt").is_file() else []
        if texts is not None:
            path = image.relative_to(folder)
            split = path.parts[0] if path.parts[0].lower() in SPLIT_NAMES and len(path.parts) > 1 else None
            rows.setdefault(split, []).append({"image": path.as_posix(), "text": texts})
    parts = [_part(folder, split, own) for split, own in rows.items()]
    table = table_of([row for own in rows.values() for row in own]).cast(_FEATURES.arrow_schema)
    return Raw(str(folder), datasets.Dataset(table), parts)  # pyright: ignore[reportArgumentType]


def _part(folder: Path, split: str | None, rows: Sequence[dict[str, object]]) -> Part:
    return Part(str(folder), len(rows), folder=folder.absolute(), split=split)


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(place, name)


def _captions(image: Path, bad: BadRows) -> list[str] | None:
    """The lines of the `.txt` beside `image`; None, and a bad row, if there is none to read."""
    path = image.with_suffix(".txt")
    try:
        return path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        bad.add(None, str(image), "missing text", f"there is no {path.name} beside it")
    except UnicodeDecodeError as error:
        bad.add(None, str(path), "not UTF-8", f"byte 0x{error.object[error.start]:02x} at offset {error.start:,}")
    return None


def _no_texts(folder: Path, images: Sequence[Path]) -> str:
    return (
        f"{folder} holds {len(images):,} images but no texts for them.{_tables(folder)} Make a file "
        f"{folder}/metadata.csv with a first line 'file_name,text' and for each image a line such as "
        f"'{images[0].relative_to(folder).as_posix()},what it shows'; or put a text file {images[0].stem}.txt "
        f"beside {images[0].name} and so on, one caption a line"
    )


def _nothing(folder: Path) -> str:
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in folder.rglob("*") if path.is_file())
    found = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(5))
    return (
        f"{folder} holds no table ({'its files: ' + found if found else 'it is empty'}).{_tables(folder)} Expected "
        "images with a metadata.csv or .txt files beside them, *.tar of WebDataset, or a folder made by save_to_disk"
    )


def _tables(folder: Path) -> str:
    """A hint at files that may be the table meant, where the folder itself was given."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return f" If the texts are in {files[0]}, give that file." if files else ""
