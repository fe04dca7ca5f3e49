"""Folders of images: with metadata, with split folders, with a text beside each, and with nothing to read."""

from pathlib import Path

import datasets
import pytest
from PIL import Image

from diptych.data.bad_rows import BadRows
from diptych.data.sources import TableError, open_table


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path.parent / "cache"))


def draw(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)
    return folder


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_metadata_names_the_images(tmp_path: Path, suffix: str):
    draw(tmp_path, "a.png", "sub/b.png", "unnamed.png")
    rows = datasets.Dataset.from_list(
        [{"file_name": "sub/b.png", "text": "bee", "n": 1}, {"file_name": "a.png", "text": "ay", "n": 2}]
    )
    getattr(rows, {"jsonl": "to_json"}.get(suffix, f"to_{suffix}"))(tmp_path / f"metadata.{suffix}")
    table = open_table(tmp_path)
    assert table["image"][:] == [{"bytes": None, "path": str(tmp_path / name)} for name in ("sub/b.png", "a.png")]
    assert (table["text"][:], table["id"][:], table["n"][:]) == ([["bee"], ["ay"]], ["sub/b", "a"], [1, 2])
    assert "split" not in table.column_names


def test_pictures_that_no_metadata_names_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    draw(tmp_path, "train/a.png", "train/b.png", "test/c.png", "d.png", "sub/e.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.png,ay\n./b.png,\n")
    (tmp_path / "test" / "metadata.csv").write_text("file_name,n,text\nc.png,1,sea\n")
    with caplog.at_level("INFO", "diptych"):
        assert len(open_table(tmp_path)) == 2
    assert "2 pictures are left out: no row of test/metadata.csv or train/metadata.csv names them" in caplog.text
    caplog.clear()
    (tmp_path / "d.png").unlink()
    (tmp_path / "sub" / "e.png").unlink()
    with caplog.at_level("INFO", "diptych"):
        open_table(tmp_path)
    assert "left out" not in caplog.text


def test_a_column_that_ends_in_file_name_is_the_image(tmp_path: Path):
    draw(tmp_path, "a.png").joinpath("metadata.csv").write_text("photo_file_name,text\na.png,ay\n")
    assert open_table(tmp_path)["id"][:] == ["a"]


def test_folders_with_metadata_of_their_own_are_splits(tmp_path: Path):
    draw(tmp_path, "train/1.png", "validation/1.png", "test/1.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text,label\n1.png,a,3\n2.png,gone,4\n")
    (tmp_path / "validation" / "metadata.jsonl").write_text('{"file_name": "1.png", "text": ["b", "c"]}\n')
    (tmp_path / "test" / "metadata.csv").write_text("file_name,text,label\n1.png,d,five\n")
    bad = BadRows()
    table = open_table(tmp_path, bad=bad)
    assert table["split"][:] == ["test", "train", "validation"]
    assert table["id"][:] == ["test/1", "train/1", "validation/1"]
    assert table["text"][:] == [["d"], ["a"], ["b", "c"]]
    assert table["label"][:] == ["five", "3", None]
    assert [entry.where for entry in bad] == [f"{tmp_path / 'train' / 'metadata.csv'}, row 3"]


def test_a_sub_folder_that_is_no_split_gives_none(tmp_path: Path):
    draw(tmp_path, "cats/1.png").joinpath("cats", "metadata.csv").write_text("file_name,text\n1.png,a\n")
    table = open_table(tmp_path)
    assert table.column_names == ["image", "text", "id"]
    assert table["id"][:] == ["cats/1"]


def test_a_text_beside_each_image_gives_a_caption_a_line(tmp_path: Path):
    draw(
        tmp_path,
        "train/x/1.jpg",
        "train/2.png",
        "test/3.webp",
        "test/4.png",
        "test/5.png",
        "test/6.png",
        ".hidden/7.png",
    )
    (tmp_path / "train/x/1.txt").write_text("a cat\n\na grey cat\n")
    (tmp_path / "train/2.txt").write_text("ein Bär", "utf-8")
    (tmp_path / "test/3.txt").write_text("a dog")
    (tmp_path / "test/4.txt").write_text(" \n")
    (tmp_path / "test/5.txt").write_bytes(b"caf\xe9")
    bad = BadRows()
    table = open_table(tmp_path, bad=bad)
    assert dict(zip(table["id"][:], table["text"][:], strict=True)) == {
        "test/3": ["a dog"],
        "train/2": ["ein Bär"],
        "train/x/1": ["a cat", "a grey cat"],
    }
    assert table["split"][:] == ["test", "train", "train"]
    assert bad.by_reason() == {"not UTF-8": 1, "missing text": 1, "empty text": 1}
    assert {entry.where for entry in bad if entry.reason == "missing text"} == {str(tmp_path / "test/6.png")}


def test_images_without_texts_say_what_to_make(tmp_path: Path):
    draw(tmp_path, "cats/1.png", "dogs/2.png")
    with pytest.raises(TableError) as caught:
        open_table(tmp_path)
    message = str(caught.value)
    assert "holds 2 images but no texts" in message
    assert f"{tmp_path}/metadata.csv" in message
    assert "'cats/1.png,what it shows'" in message
    assert "1.txt beside 1.png" in message


def test_a_table_beside_the_images_is_pointed_at(tmp_path: Path):
    draw(tmp_path, "1.png").joinpath("captions.csv").write_text("image,caption\n1.png,a\n")
    with pytest.raises(TableError, match=r"If the texts are in .*captions.csv, give that file"):
        open_table(tmp_path)


def test_empty_and_foreign_folders_say_what_they_hold(tmp_path: Path):
    with pytest.raises(TableError, match=r"holds no table \(it is empty\).*metadata.csv"):
        open_table(tmp_path)
    (tmp_path / "notes.pdf").touch()
    with pytest.raises(TableError, match=r"its files: 1 \.pdf"):
        open_table(tmp_path)


def test_a_wrong_path_suggests_near_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw(tmp_path, "flickr8k/1.png")
    with pytest.raises(TableError, match=rf"there is no .*flikr8k.*Did you mean {tmp_path}/flickr8k\?"):
        open_table(tmp_path / "flikr8k" / "deeper")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TableError, match=r"Did you mean symbols\?.*built-in table \(.*symbols"):
        open_table("symbol")


def test_a_folder_of_a_built_ins_name_is_opened_if_written_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from diptych.data.tables import symbols

    built_in = datasets.Dataset.from_dict({"id": ["U+0041"]})
    monkeypatch.setattr(symbols, "load", lambda: built_in)
    draw(tmp_path, "symbols/1.png").joinpath("symbols", "1.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert open_table("symbols") is built_in
    assert open_table("./symbols")["text"][:] == [["mine"]]
    assert open_table(Path("symbols"))["text"][:] == [["mine"]]
