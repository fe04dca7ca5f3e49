"""A summary counts what is there, and the sheet shows it."""

import io
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from diptych.data.summary import QUANTILES, contact_sheet, render, summarise


def encoded(image: Image.Image, format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def a_table(images: list[bytes], texts: list[list[str]], **columns: list) -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "text": datasets.List(datasets.Value("string"))}
    )
    rows = {"image": [{"bytes": data, "path": None} for data in images], "text": texts}
    table = datasets.Dataset.from_dict(rows, features=features)
    for name, values in columns.items():
        table = table.add_column(name, values)  # pyright: ignore[reportCallIssue]
    return table


RED = encoded(Image.new("RGB", (100, 50), (255, 0, 0)), "PNG")
GREY = encoded(Image.new("L", (20, 30), 99), "JPEG")
NOISE = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
CUT = encoded(Image.fromarray(NOISE), "JPEG")[:-100]


@pytest.fixture
def table() -> datasets.Dataset:
    texts = [["one two three", "über"], ["one two three"], ["x " * 9 + "x"]]
    return a_table(
        [RED, GREY, CUT],
        texts,
        id=["a", "a", "b"],
        split=["train", "train", "test"],
        boxes=[[{"x": 1.0}], [], []],
    )


def test_counts_worked_by_hand(table: datasets.Dataset):
    summary = summarise(table)
    assert (summary.rows, summary.texts, summary.distinct_texts, summary.repeated_texts) == (3, 4, 3, 1)
    assert summary.duplicate_ids == 1
    assert summary.splits == {"train": 2, "test": 1}
    assert summary.columns == {
        "image": "Image",
        "text": "list of string",
        "id": "string",
        "split": "string",
        "boxes": "list of {x: float64}",
    }
    assert (summary.words[0.0], summary.words[1.0]) == (1, 10)
    assert (summary.characters[0.0], summary.characters[1.0]) == (4, 19)
    assert summary.sampled == 3
    assert (summary.widths[0.0], summary.widths[1.0], summary.heights[1.0]) == (20, 100, 50)
    assert summary.modes == {"L": 2, "RGB": 1}
    assert summary.formats == {"JPEG": 2, "PNG": 1}
    assert summary.bad_images == {"truncated image": 1}


def test_the_sample_is_bounded_and_the_same_each_time():
    levels = [encoded(Image.new("L", (i + 1, 1)), "PNG") for i in range(50)]
    table = a_table(levels, [["x"]] * 50, id=[str(i) for i in range(50)])
    first = summarise(table, decode=10)
    assert first.sampled == 10
    assert first == summarise(table, decode=10)
    assert first.splits == {}
    nothing = summarise(table, decode=0)
    assert (nothing.sampled, nothing.widths, nothing.formats) == (0, {}, {})


def test_quantiles_are_those_of_numpy():
    lengths = np.random.default_rng(0).integers(1, 200, 99)
    table = a_table([RED] * 99, [["x" * n] for n in lengths], id=[str(i) for i in range(99)])
    expected = np.quantile(lengths, QUANTILES, method="nearest").tolist()
    assert list(summarise(table, decode=1).characters.values()) == expected


def test_texts_of_a_selection_only_are_counted(table: datasets.Dataset):
    summary = summarise(table.select([2, 0]))
    assert (summary.rows, summary.texts, summary.repeated_texts) == (2, 3, 0)


def test_it_prints_what_it_counted(table: datasets.Dataset):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(summarise(table)))
    text = console.export_text()
    for fact in ("4: 3 distinct, 1 of them repeated", "train 2, test 1", "JPEG 2, PNG 1", "truncated image 1", "boxes"):
        assert fact in text


def test_a_sheet_shows_each_picture_in_its_place_with_its_text(table: datasets.Dataset, tmp_path: Path):
    path = contact_sheet(table, tmp_path / "new" / "sheet.png")
    sheet = np.asarray(Image.open(path))  # [H, W, 3]
    height, width, _ = sheet.shape
    assert width == 3 * 168 + 8
    cell = sheet[8:168, 8:168]
    assert cell[80, 80].tolist() == [255, 0, 0]  # the red picture, twice as wide as high, in the middle
    assert cell[20, 80].tolist() == [255, 255, 255]
    middle = sheet[8:168, 176:336]
    assert abs(int(middle[80, 80, 0]) - 99) <= 2  # JPEG
    bad = sheet[8:168, 344:504]
    assert bad[150, 150].tolist() == [211, 211, 211]  # light grey
    for left in (8, 176, 344):
        assert (sheet[170:height, left : left + 160] < 128).any()


@pytest.mark.parametrize("caption", ["x" * 10_000, "word " * 2_000, "W" * 60, "猫" * 500, "a\nb\nc\nd\ne"])
def test_no_caption_runs_into_its_neighbour(tmp_path: Path, caption: str):
    path = contact_sheet(a_table([RED], [[caption]], id=["a"]), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(path).convert("L"))
    assert sheet.shape[1] == 176
    assert (sheet[170:, 168:] == 255).all()
    assert (sheet[-8:] == 255).all()
    assert (sheet[170:, :168] < 128).any()


def test_count_bounds_the_sheet_and_nothing_to_draw_is_an_error(table: datasets.Dataset, tmp_path: Path):
    path = contact_sheet(table, tmp_path / "sheet.png", count=1)
    assert Image.open(path).width == 176
    with pytest.raises(ValueError, match="nothing to draw of 3 rows with count 0"):
        contact_sheet(table, path, count=0)
