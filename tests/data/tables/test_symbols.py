"""The table of symbols: what is in it, how it is split, and that a broken cache is made again."""

import io
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from diptych.data.cache import cache_root
from diptych.data.tables import symbols


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> datasets.Dataset:
    return symbols.load(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `load` render three symbols only."""
    chosen = ["a", "á", "→"]
    render = symbols._render_table
    monkeypatch.setattr(symbols, "_render_table", lambda *, progress=None: render(chosen, progress=progress))
    return chosen


def _pixels(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def test_counts_are_those_of_twelve_fonts(table: datasets.Dataset) -> None:
    # matplotlib 3.11 and Unicode 14 give 45,627 pictures of 6,492 symbols;
    # other versions of either may name or draw a few more or fewer.
    assert 45_000 < len(table) < 46_500
    assert 6_300 < len(set(table["id"])) < 6_700
    assert set(table["font"]) == set(symbols.FONTS)
    assert len(symbols.FONTS) == 12
    assert max(Counter(table["id"]).values()) == 12


def test_an_unseen_symbol_is_in_no_other_split_under_any_font(table: datasets.Dataset) -> None:
    splits = defaultdict(set)
    for symbol, split in zip(table["id"], table["split"], strict=True):
        splits[symbol].add(split)
    unseen = {symbol for symbol, found in splits.items() if "test" in found}
    assert all(splits[symbol] == {"test"} for symbol in unseen)
    # 6.5k draws of 0.1: four standard deviations are 0.015.
    assert abs(len(unseen) / len(splits) - 0.1) < 0.015
    assert all("train" in splits[symbol] for symbol in splits if symbol not in unseen)


def test_unseen_fonts_are_never_trained_on(table: datasets.Dataset) -> None:
    fonts = defaultdict(set)
    for font, split in zip(table["font"], table["split"], strict=True):
        fonts[split].add(font)
    assert fonts["test_fonts"] == symbols.UNSEEN_FONTS
    assert not fonts["train"] & symbols.UNSEEN_FONTS
    assert len(fonts["train"]) == 10


def test_splits_do_not_change_with_the_machine_or_the_run() -> None:
    # Written down once. If this fails, published numbers on the table are no longer comparable.
    unseen = [c for c in "abcdefghijklmnopqrstuvwxyzαβγδεζηθ←↑→↓" if symbols.split_of(c, "DejaVu Sans") == "test"]
    assert "".join(unseen) == "ryαε"


def test_names_are_the_unicode_names_in_words(table: datasets.Dataset) -> None:
    names = dict(zip(table["symbol"], table["text"], strict=True))
    assert names["á"] == ["latin small letter a with acute"]
    assert names["-"] == ["hyphen-minus"]
    assert names["♞"] == ["black chess knight"]
    first = table[0]
    assert first["id"] == "U+0021"
    assert (first["symbol"], first["font"], first["category"]) == ("!", "DejaVu Sans", "other punctuation")


def test_spaces_controls_and_combining_marks_are_left_out(table: datasets.Dataset) -> None:
    # no-break space, soft hyphen, combining acute, Ogham space mark (inked), blank braille pattern (no ink)
    assert not set("\u00a0\u00ad\u0301\u1680\u2800") & set(table["symbol"])


def test_no_picture_is_blank_or_touches_the_edge(table: datasets.Dataset) -> None:
    for png in table["image"]:
        pixels = np.asarray(Image.open(io.BytesIO(png["bytes"])))
        assert pixels.shape == (symbols.SIZE, symbols.SIZE)
        assert pixels.min() < 255, "blank"
        assert min(pixels[0].min(), pixels[-1].min(), pixels[:, 0].min(), pixels[:, -1].min()) == 255


def test_small_symbols_stay_small_and_ink_is_centred(table: datasets.Dataset) -> None:
    sans = {row["symbol"]: _pixels(row) for row in table.select(range(200)).to_list()}
    ink = {c: np.argwhere(sans[c] < 255) for c in ".xX|"}
    extent = {c: (where.max(0) - where.min(0) + 1).max() for c, where in ink.items()}
    assert extent["."] < extent["x"] < extent["X"] < extent["|"] <= symbols.SIZE - 2 * symbols.MARGIN
    for where in ink.values():
        # The middle of an odd extent lies half a pixel off the middle of an even picture.
        assert np.abs((where.max(0) + where.min(0) + 1) / 2 - symbols.SIZE / 2).max() <= 0.5


def test_a_second_load_renders_nothing_and_gives_the_same(few: list[str], tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    fresh = symbols.load(tmp_path, progress=lambda done, total: reports.append((done, total)))
    assert set(fresh["symbol"]) == set(few)
    assert reports[-1] == (len(fresh), len(fresh))
    again = symbols.load(tmp_path, progress=lambda done, total: pytest.fail("rendered again"))
    assert again[:] == fresh[:]


@pytest.mark.parametrize("harm", ["cut", "flip", "unfinished"])
@pytest.mark.usefixtures("few")
def test_a_broken_cache_is_made_again(tmp_path: Path, harm: str) -> None:
    expected = symbols.load(tmp_path)[:]
    (folder,) = (tmp_path / "tables").iterdir()
    (arrow,) = folder.glob("*.arrow")
    content = bytearray(arrow.read_bytes())
    if harm == "cut":
        arrow.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        content[len(content) // 2] ^= 0xFF
        arrow.write_bytes(content)
    else:
        (folder / "manifest.json").unlink()
    assert symbols.load(tmp_path)[:] == expected
    assert [path.name for path in (tmp_path / "tables").iterdir()] == [folder.name], "left something behind"


def test_the_environment_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("DIPTYCH_CACHE", "")
    assert cache_root() != tmp_path
