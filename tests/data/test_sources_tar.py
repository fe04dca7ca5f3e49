"""WebDataset tars: nested fields, cut and foreign files, the cache, and a real collection."""

import io
import json
import logging
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from diptych.data.bad_rows import BadRows
from diptych.data.sources import TableError, open_table, tar
from diptych.data.sources.opening import expand_braces

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(level: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, object]) -> Path:
    """A tar of the members: bytes as they are, strings as UTF-8, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, value in members.items():
            text = value if isinstance(value, str | bytes) else json.dumps(value, ensure_ascii=False)
            data = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def members_of(rows: list[dict[str, object]], folder: str = "") -> dict[str, object]:
    """000000.png, 000000.json, 000001.png ... with the rows as their JSON."""
    pairs = [(f"{folder}{i:06d}", {"png": picture(i), "json": row}) for i, row in enumerate(rows)]
    return {f"{key}.{suffix}": value for key, both in pairs for suffix, value in both.items()}


def samples(count: int) -> dict[str, object]:
    """Members of `count` samples with the captions n0, n1 ..."""
    return members_of([{"caption": f"n{i}"} for i in range(count)])


def test_fields_of_json_are_columns_nested_ones_too(tmp_path: Path):
    rows = [
        {"id": "a", "captions": ["one", "two"], "split": "train", "texts": {"de": "eins"}, "boxes": [{"xy": [0.5, 1]}]},
        {"id": 7, "captions": "three", "split": "test", "texts": {"fr": ["trois"]}, "boxes": []},
    ]
    table = open_table(write_tar(tmp_path / "a.tar", members_of(rows, "x/")))
    assert table.column_names == ["image", "text", "id", "split", "texts", "boxes"]
    assert table["image"][:] == [{"bytes": picture(i), "path": None} for i in range(2)]
    assert table["text"][:] == [["one", "two"], ["three"]]
    assert (table["id"][:], table["split"][:]) == (["a", "7"], ["train", "test"])
    assert table["texts"][:] == [{"de": "eins", "fr": None}, {"de": None, "fr": ["trois"]}]
    assert table["boxes"][:] == [[{"xy": [0.5, 1.0]}], []]


def test_txt_is_a_caption_a_line_and_cls_a_label(tmp_path: Path):
    fields = {"caption": "c", "text": "t", "image": 5}
    members = {"1.jpg": picture(), "1.txt": "a cat\na grey cat", "1.cls": "3", "1.json": fields}
    row = open_table(write_tar(tmp_path / "a.tar", members))[0]
    assert row["text"] == ["a cat", "a grey cat"]
    assert (row["label"], row["caption"], row["original_text"], row["original_image"]) == ("3", "c", "t", 5)
    assert row["id"] == "a/1"


def test_dots_belong_to_the_suffix_and_hidden_members_to_no_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    members = {"./1.v2.png": picture(), "./1.v2.json": {"text": "a"}, "./._1.png": b"mac", "./1.npy": b"x"}
    with caplog.at_level(logging.INFO, "diptych"):
        assert open_table(write_tar(tmp_path / "a.tar", members))["id"][:] == ["a/1"]
    assert "members not used: 1 .npy" in caplog.text


def test_a_folder_of_tars_is_one_table_with_ids_of_its_own(tmp_path: Path):
    for shard in ("s-0", "s-1"):
        write_tar(tmp_path / "d" / f"{shard}.tar", samples(2))
    assert open_table(tmp_path / "d")["id"][:] == ["s-0/000000", "s-0/000001", "s-1/000000", "s-1/000001"]
    for pattern, count in [("s-{0..1}.tar", 4), ("s-*.tar", 4), ("s-{1,0}.tar", 4), ("s-[1].tar", 2)]:
        assert len(open_table(f"{tmp_path}/d/{pattern}")) == count
    with pytest.raises(TableError, match=r"2 of its files are missing, the first .*s-2.tar"):
        open_table(f"{tmp_path}/d/s-{{0..3}}.tar")
    with pytest.raises(TableError, match="no file matches"):
        open_table(f"{tmp_path}/d/t-*.tar")


def test_braces_expand_in_order():
    assert list(expand_braces("a-{098..101}.tar")) == ["a-098.tar", "a-099.tar", "a-100.tar", "a-101.tar"]
    assert list(expand_braces("{x,y}{0..1}")) == ["x0", "x1", "y0", "y1"]


def test_samples_that_cannot_be_used_are_set_aside_by_name(tmp_path: Path):
    members = {
        "0.png": picture(), "0.txt": "good",
        "1.txt": "no image",
        "2.png": picture(),
        "3.png": picture(), "3.json": "{broken",
        "4.png": picture(), "4.txt": b"caf\xe9",
        "5.png": b"", "5.txt": "empty",
    }  # fmt: skip
    bad = BadRows()
    path = write_tar(tmp_path / "a.tar", members)
    assert open_table(path, bad=bad)["text"][:] == [["good"]]
    assert {entry.where.removeprefix(f"{path}, sample "): entry.reason for entry in bad} == {
        "1": "no image",
        "2": "empty text",
        "3": "broken json",
        "4": "not UTF-8",
        "5": "empty file",
    }


@pytest.mark.parametrize("place", ["in data", "in header", "at member", "before end mark"])
def test_a_cut_tar_yields_what_it_holds_and_says_where_it_breaks(tmp_path: Path, place: str):
    path = write_tar(tmp_path / "a.tar", samples(3))
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-2]  # 000002.png
    data = path.read_bytes()
    end = {"in data": last.offset_data + 10, "in header": last.offset + 100, "at member": last.offset}
    size = end.get(place, last.offset_data + 1024 + 512)  # the image, its JSON's header and block, no zeros after
    path.write_bytes(data[:size])
    bad = BadRows()
    table = open_table(path, bad=bad)
    whole = 3 if place == "before end mark" else 2
    assert table["text"][:] == [[f"n{i}"] for i in range(whole)]
    (entry,) = [entry for entry in bad if entry.reason == "truncated tar"]
    assert f"{size:,}" in entry.detail
    assert (
        entry.where
        == {
            "in data": f"{path}, member 000002.png",
            "in header": f"{path}, after member 000001.json",
            "at member": f"{path}, after member 000001.json",
            "before end mark": f"{path}, after member 000002.json",
        }[place]
    )


def test_a_file_that_is_no_tar_is_fatal_only_alone(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(TableError, match=r"has no rows: 1 not a tar .*a.tar: .*; its size is 2,200 bytes"):
        open_table(tmp_path / "a.tar")
    write_tar(tmp_path / "b.tar", samples(2))
    (tmp_path / "c.tar").touch()
    bad = BadRows()
    assert len(open_table(tmp_path, bad=bad)) == 2
    assert bad.by_reason() == {"not a tar": 2}


def test_bad_rows_are_told_again_from_the_cache_and_the_tar_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_tar(tmp_path / "a.tar", {**samples(2), "x.txt": "no image", "y.png": picture()})
    path.write_bytes(path.read_bytes()[: 6 * 1024])  # whole members, no end mark
    first, second = BadRows(), BadRows()
    before = open_table(path, bad=first)
    monkeypatch.setattr(tar, "_copy", None)
    after = open_table(path, bad=second)
    assert before[:] == after[:]
    assert first.by_reason() == second.by_reason()
    assert list(first) == list(second)
    assert first.by_reason() == {"no image": 1, "empty text": 1, "truncated tar": 1}


def test_a_changed_tar_is_read_again_and_only_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for shard in "ab":
        write_tar(tmp_path / "d" / f"{shard}.tar", samples(1))
    open_table(tmp_path / "d")
    read, copy = [], tar._copy
    monkeypatch.setattr(tar, "_copy", lambda path, folder: (read.append(path.name), copy(path, folder)))
    write_tar(tmp_path / "d" / "b.tar", samples(30))
    write_tar(tmp_path / "d" / "c.tar", samples(1))
    assert len(open_table(tmp_path / "d")) == 32
    assert read == ["b.tar", "c.tar"]


def test_an_interrupted_reading_leaves_no_half_table(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_tar(tmp_path / "a.tar", samples(3))

    def interrupted(rows: object) -> pa.Table:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tar, "table_of", interrupted)
        open_table(path)
    assert list((cache / "tables").iterdir()) == []
    assert len(open_table(path)) == 3


def test_images_lie_on_disk_and_columns_can_be_added_without_copying_them(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", {**samples(50), "000003.json": {"caption": ""}, "000020.png": b""})
    before = pa.total_allocated_bytes()
    table = open_table(path)
    assert len(table) == 48
    assert [Path(file["filename"]).name for file in table.cache_files] == ["images.arrow"] * len(table.cache_files)
    wider = table.add_column("n", list(range(48)))
    assert wider[47]["image"]["bytes"] == picture(49)
    assert {Path(file["filename"]).name for file in wider.cache_files} == {"images.arrow"}
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_batches_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar, "_BATCH_BYTES", 100)
    stream = (tar.Sample(str(size), b"x" * size) for size in (60, 60, 10, 200, 5))
    assert [[sample.key for sample in batch] for batch in tar._batches(stream)] == [["60", "60"], ["10", "200"], ["5"]]


def test_flickr8k_is_read_whole():
    folder = SHARED / "data" / "flickr8k"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the real collection is not on this machine")
    bad = BadRows()
    table = open_table(folder, bad=bad)
    assert len(table) == 8091
    assert len(bad) == 0
    assert {len(texts) for texts in table["text"][:]} == {5}
    assert Counter(table["split"][:]) == {"train": 6000, "val": 1000, "test": 1000, "extra": 91}
    assert table[0]["id"] == "1000268201_693b08cb0e"
    assert table[0]["image"]["bytes"].startswith(b"\xff\xd8")
    assert len(table[0]["texts"]["zh"]) == 5
    assert sum(row is not None and row["de"] is not None for row in table["multi30k"][:]) == 7478
