"""What a table holds, before anything is trained on it: counts, lengths, sizes, and a sheet of pictures to look at.

Most failures of a training run can be seen here: captions that repeat, images of one pixel, a split
that is missing, a column that is not what its name says.
"""

import random
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from diptych.data.images import BadImage, decode_image, read_header

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
"""Which quantiles a summary gives: least, 5 in 100, median, 95 in 100, greatest."""

_SEED = 0
_PICTURE = 160
_LINES = 3
_COLUMNS = 8
_FONT_PIXELS = 12
_GAP = 8


@dataclass(frozen=True)
class Summary:
    """What `summarise` found.

    Attributes:
        rows: of the table.
        texts: of all rows together.
        distinct_texts: how many different ones there are among them.
        repeated_texts: how many of these occur more than once, word for word.
        duplicate_ids: ids that several rows have; such rows are positives of each other.
        columns: name -> type.
        splits: name -> rows; empty if the table has no splits.
        words: quantile -> words of a text, by white space (one for a sentence of Chinese).
        characters: quantile -> characters of a text.
        sampled: rows whose images were looked at for all that follows.
        widths: quantile -> pixels, as stored (before EXIF rotation).
        heights: quantile -> pixels.
        modes: Pillow mode, such as "RGB" -> images.
        formats: "JPEG", "PNG" ... -> images.
        bad_images: reason -> images of the sample that cannot be decoded.
    """

    rows: int
    texts: int
    distinct_texts: int
    repeated_texts: int
    duplicate_ids: int
    columns: Mapping[str, str]
    splits: Mapping[str, int]
    words: Mapping[float, float]
    characters: Mapping[float, float]
    sampled: int
    widths: Mapping[float, float]
    heights: Mapping[float, float]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    bad_images: Mapping[str, int]


def summarise(table: datasets.Dataset, *, decode: int = 256) -> Summary:
    """Count what is in a table, and decode some of its images.

    Parameters
    ----------
    table
        As `open_table` gives it.
    decode
        Images to decode; they are drawn at random, the same ones each time.

    Examples
    --------
    >>> from diptych.data.sources import open_table
    >>> summarise(open_table("flickr8k")).splits  # doctest: +SKIP
    {'train': 6000, 'val': 1000, 'test': 1000, 'extra': 91}
    """
    texts = _flat_texts(table)
    counts = texts.value_counts().field("counts").to_numpy()
    ids = Counter(table["id"][:])
    splits = table["split"][:] if "split" in table.column_names else []
    words = pc.count_substring_regex(texts, r"\S+")  # pyright: ignore[reportAttributeAccessIssue]
    characters = pc.utf8_length(texts)  # pyright: ignore[reportAttributeAccessIssue]
    rows = _sample(table, decode)
    headers, bad = [], Counter()
    for row in rows:
        image = table[row]["image"]
        try:
            headers.append(read_header(image))
            decode_image(image)
        except BadImage as error:
            bad[error.reason] += 1
    return Summary(
        rows=len(table),
        texts=len(texts),
        distinct_texts=len(counts),
        repeated_texts=int((counts > 1).sum()),
        duplicate_ids=sum(count > 1 for count in ids.values()),
        columns={name: _kind(feature) for name, feature in table.features.items()},
        splits=dict(Counter("none" if name is None else name for name in splits)),
        words=_quantiles(words.to_numpy()),
        characters=_quantiles(characters.to_numpy()),
        sampled=len(rows),
        widths=_quantiles([header.width for header in headers]),
        heights=_quantiles([header.height for header in headers]),
        modes=dict(Counter(header.mode for header in headers).most_common()),
        formats=dict(Counter(header.format or "in memory" for header in headers).most_common()),
        bad_images=dict(bad.most_common()),
    )


def contact_sheet(table: datasets.Dataset, path: Path, *, count: int = 40) -> Path:
    """Draw a sheet of pictures, each with its first text beneath, to look at before training.

    Parameters
    ----------
    table
        As `open_table` gives it.
    path
        PNG to write; folders on the way are made.
    count
        Rows to show; they are drawn at random, the same ones each time. An image that cannot be
        decoded is shown as a grey field with the reason.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the table is empty or `count` is less than 1.
    """
    rows = _sample(table, count)
    if not rows:
        raise ValueError(f"nothing to draw of {len(table):,} rows with count {count}; both must be 1 or more")
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _FONT_PIXELS)
    line = sum(font.getmetrics()) + 1
    width, height = _PICTURE + _GAP, _PICTURE + _LINES * line + 2 * _GAP
    columns = min(_COLUMNS, len(rows))
    sheet = Image.new("RGB", (columns * width + _GAP, -(-len(rows) // columns) * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        left, top = _GAP + place % columns * width, _GAP + place // columns * height
        own = table[row]
        sheet.paste(_thumbnail(own["image"]), (left, top))
        caption = _wrapped(own["text"][0], font)
        pen.multiline_text((left, top + _PICTURE + 2), caption, fill="black", font=font, spacing=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG")
    return path


def render(summary: Summary) -> RenderableType:
    """The summary for the terminal, to be printed by a `rich.console.Console`."""
    facts = Table.grid(padding=(0, 2))
    facts.add_row("rows", f"{summary.rows:,}")
    distinct = f"{summary.distinct_texts:,} distinct, {summary.repeated_texts:,} of them repeated"
    facts.add_row("texts", f"{summary.texts:,}: {distinct}")
    facts.add_row("ids of several rows", f"{summary.duplicate_ids:,}")
    facts.add_row("splits", _counts(summary.splits) or "none")
    facts.add_row(f"images ({summary.sampled:,} looked at)", _counts(summary.formats) or "none")
    facts.add_row("modes", _counts(summary.modes) or "none")
    facts.add_row("bad images", Text(_counts(summary.bad_images) or "none", "red" if summary.bad_images else ""))

    lengths = Table("", *("least" if q == 0 else "greatest" if q == 1 else f"{q:.0%}" for q in QUANTILES))
    for name in ("words", "characters", "widths", "heights"):
        values: Mapping[float, float] = getattr(summary, name)
        lengths.add_row(name, *(f"{values[q]:,.0f}" if q in values else "-" for q in QUANTILES))

    columns = Table("column", "type")
    for name, kind in summary.columns.items():
        columns.add_row(Text(name), Text(kind))
    return Group(facts, lengths, columns)


def _flat_texts(table: datasets.Dataset) -> pa.ChunkedArray:
    """All texts of all rows, one after the other."""
    batches = table.select_columns("text").with_format("arrow").iter(10_000)
    lists: list[Any] = [batch["text"] for batch in batches]  # pyright: ignore[reportCallIssue, reportArgumentType]
    chunks = [chunk.flatten() for column in lists for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string())


def _sample(table: datasets.Dataset, count: int) -> list[int]:
    """Up to `count` row numbers, in order, the same for every table of this length."""
    return sorted(random.Random(_SEED).sample(range(len(table)), max(0, min(count, len(table)))))


def _quantiles(values: Sequence[int] | np.ndarray) -> dict[float, float]:
    """The quantiles `QUANTILES`, each a value that occurs; empty for no values."""
    if not len(values):
        return {}
    return dict(zip(QUANTILES, np.quantile(values, QUANTILES, method="nearest").tolist(), strict=True))


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.Value):
        return feature.dtype
    if isinstance(feature, datasets.List | datasets.LargeList):
        return f"list of {_kind(feature.feature)}"
    if isinstance(feature, dict):
        return "{" + ", ".join(f"{name}: {_kind(own)}" for name, own in feature.items()) + "}"
    return type(feature).__name__


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _thumbnail(image: Any) -> Image.Image:
    """The image, whole, in the middle of a square; if it is bad, the reason on grey."""
    try:
        picture = decode_image(image, draft=(_PICTURE, _PICTURE))
        return ImageOps.pad(picture, (_PICTURE, _PICTURE), color="white")
    except BadImage as error:
        field = Image.new("RGB", (_PICTURE, _PICTURE), "lightgrey")
        ImageDraw.Draw(field).text((_GAP, _GAP), error.reason, fill="darkred")
        return field


def _wrapped(caption: str, font: ImageFont.FreeTypeFont) -> str:
    """The start of a caption in at most `_LINES` lines no wider than a picture, with "…" where it is cut."""
    # Longer than could ever fit, so that a caption of a book's length costs no time.
    short = " ".join(caption[: _LINES * _PICTURE].split())
    lines: list[str] = []
    for wide in range(int(_PICTURE / font.getlength("i")), 0, -1):
        lines = textwrap.wrap(short, wide, max_lines=_LINES, placeholder="…")
        if all(font.getlength(line) <= _PICTURE for line in lines):
            break
    return "\n".join(lines)
