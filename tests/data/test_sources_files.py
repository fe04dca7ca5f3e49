"""CSV, TSV, JSON lines and Parquet of paths and texts: every row in, or set aside with its place and reason."""

import json
import logging
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diptych.data.bad_rows import BadRows
from diptych.data.sources import TableError, open_table
from diptych.data.sources.raw import stack, table_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images/0.png ... images/4.png."""
    (tmp_path / "images").mkdir()
    for i in range(5):
        Image.new("L", (2, 2), i).save(tmp_path / "images" / f"{i}.png")
    return tmp_path


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_relative_and_absolute_paths_ids_texts_and_other_columns(folder: Path):
    text = f"filepath,title,price,tag\nimages/0.png,a cat,3,x\n{folder}/images/1.png,501,4,y\n"
    table = open_table(written(folder / "a.csv", text))
    assert table.column_names == ["image", "text", "id", "price", "tag"]
    assert table.features["image"] == datasets.Image(decode=False)
    assert table["image"][:] == [{"bytes": None, "path": str(folder / "images" / f"{i}.png")} for i in range(2)]
    assert table["text"][:] == [["a cat"], ["501"]]
    assert table["id"][:] == ["images/0", f"{folder}/images/1"]
    assert table["price"][:] == [3, 4]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_every_format_gives_the_same_table(folder: Path, name: str):
    rows = [{"image": f"images/{i}.png", "id": f"00{i}", "caption": f'a "big", red\n{i} 猫', "n": i} for i in range(3)]
    source = datasets.Dataset.from_list(rows)
    if name.endswith(".jsonl"):
        source.to_json(folder / name)
    elif name.endswith(".parquet"):
        source.to_parquet(folder / name)
    else:
        source.to_csv(folder / name, sep="\t" if name.endswith("tsv") else ",", index=False)
    table = open_table(folder / name)
    assert table["id"][:] == ["000", "001", "002"]
    assert table["text"][:] == [[f'a "big", red\n{i} 猫'] for i in range(3)]
    assert table["n"][:] == [0, 1, 2]
    assert Path(table[2]["image"]["path"]) == folder / "images" / "2.png"


def test_parquet_may_hold_the_images(folder: Path):
    data = (folder / "images" / "3.png").read_bytes()
    rows = {"jpg": [data, b"", None], "text": ["three", "none", "none"]}
    datasets.Dataset.from_dict(rows).to_parquet(folder / "a.parquet")
    bad = BadRows()
    table = open_table(folder / "a.parquet", bad=bad)
    assert table[:]["image"] == [{"bytes": data, "path": None}]
    assert table["id"][:] == ["0"]
    assert bad.by_reason() == {"empty file": 1, "no image": 1}


def test_rows_of_one_image_without_id_are_merged_in_order(folder: Path):
    rows = [(0, "b"), (1, "c"), (0, "a"), (0, "b")]
    text = "image,caption\n" + "".join(f"images/{i}.png,{caption}\n" for i, caption in rows)
    table = open_table(written(folder / "captions.csv", text))
    assert table["text"][:] == [["b", "a", "b"], ["c"]]
    assert table["id"][:] == ["images/0", "images/1"]


def test_rows_with_ids_are_not_merged_and_shared_ids_are_noted(folder: Path, caplog: pytest.LogCaptureFixture):
    text = "id,image,caption\nshoe,images/0.png,left\nshoe,images/1.png,right\n,images/2.png,\n,images/3.png,x\n"
    bad = BadRows()
    with caplog.at_level(logging.INFO, "diptych"):
        table = open_table(written(folder / "a.csv", text), bad=bad)
    assert table["id"][:] == ["shoe", "shoe", "images/3"]
    assert bad.by_reason() == {"empty text": 1}
    assert "1 ids are shared by several rows" in caplog.text


def test_one_image_under_several_ids_is_warned_of(folder: Path, caplog: pytest.LogCaptureFixture):
    open_table(written(folder / "a.csv", "id,image,caption\n1,images/0.png,a\n2,images/0.png,b\n"))
    assert "1 images occur under several ids" in caplog.text
    assert "--id-column" in caplog.text


def test_numbered_text_columns_are_read_together_in_order(folder: Path):
    text = "image,caption_10,caption_2,caption_0\nimages/0.png,c,b,a\nimages/1.png,,b,\n"
    table = open_table(written(folder / "a.csv", text))
    assert table["text"][:] == [["a", "b", "c"], ["b"]]
    assert table.column_names == ["image", "text", "id"]
    assert open_table(folder / "a.csv", text_column="caption")["text"][:] == table["text"][:]


def test_images_that_differ_in_suffix_alone_have_ids_of_their_own(folder: Path):
    Image.new("L", (2, 2)).save(folder / "images" / "0.jpg")
    text = "image,text\nimages/0.png,a\nimages/0.jpg,b\n./images/1.png,c\n"
    assert open_table(written(folder / "a.csv", text))["id"][:] == ["images/0.png", "images/0.jpg", "images/1"]


def test_bad_rows_are_set_aside_with_row_and_reason(folder: Path):
    lines = [
        "images/0.png,good",
        "images/gone.png,x",
        "images/1.png,  ",
        ",x",
        "https://a.b/c.jpg,x",
        "images/2.png,a,b",
    ]
    path = written(folder / "a.csv", "\n".join(["file_name,text", *lines, "images/3.png,good"]))
    bad = BadRows()
    table = open_table(path, bad=bad)
    assert [Path(image["path"]).name for image in table["image"][:]] == ["0.png", "3.png"]
    found = {entry.reason: entry for entry in bad}
    assert {reason: entry.where for reason, entry in found.items()} == {
        "missing file": f"{path}, row 3",
        "empty text": f"{path}, row 4",
        "no image": f"{path}, row 5",
        "remote image": f"{path}, row 6",
        "broken line": f"{path}, row 7",
    }
    assert found["missing file"].detail == str(folder / "images" / "gone.png")
    assert found["missing file"].row == 1


def test_rows_after_a_broken_line_keep_their_numbers(folder: Path):
    path = written(folder / "a.csv", "image,text\nimages/0.png,a,b,c\nimages/0.png,ok\nimages/gone.png,x\n")
    bad = BadRows()
    open_table(path, bad=bad)
    assert [entry.where for entry in bad] == [f"{path}, row 2", f"{path}, row 4"]


def test_blank_texts_of_a_row_are_dropped_and_long_ones_untouched(folder: Path):
    long = " x" * 5000
    rows = [
        {"image": "images/0.png", "captions": ["", long, " \t", None, "b "]},
        {"image": "images/1.png", "captions": []},
    ]
    path = written(folder / "a.jsonl", "\n".join(map(json.dumps, rows)))
    bad = BadRows()
    assert open_table(path, bad=bad)["text"][:] == [[long, "b "]]
    assert len(long) == 10_000
    assert [(entry.where, entry.reason) for entry in bad] == [(f"{path}, line 2", "empty text")]


def test_broken_json_lines_are_bad_rows_with_their_line(folder: Path):
    good = json.dumps({"image": "images/0.png", "text": "a"})
    path = written(folder / "a.jsonl", f"{good}\n\n{good[:-4]}\n[1, 2]\n{good.replace('0.png', '1.png')}\n{{}}\n")
    bad = BadRows()
    assert len(open_table(path, bad=bad)) == 2
    assert [(entry.where, entry.reason) for entry in bad] == [
        (f"{path}, line 3", "broken line"),
        (f"{path}, line 4", "broken line"),
        (f"{path}, line 6", "broken line"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_what_is_not_utf8_names_byte_and_line(folder: Path, name: str):
    path = written(folder / name, "image,text\nimages/0.png,ok\nimages/1.png,caf\xe9\n", "latin-1")
    with pytest.raises(TableError) as caught:
        open_table(path)
    assert f"{path} is not UTF-8: byte 0xe9 at offset 43, line 3" in str(caught.value)
    assert "save the file again as UTF-8" in str(caught.value)
    assert path.read_bytes()[43] == 0xE9


def test_utf8_across_the_blocks_it_is_read_in(folder: Path):
    # The block ends inside the three bytes of a character: no error; then a broken byte behind it.
    head = "image,text\nimages/0.png,"
    text = head + "x" * ((1 << 20) - len(head) - 1) + "猫"
    assert open_table(written(folder / "a.csv", text))["text"][0][0].endswith("x猫")
    (folder / "a.csv").write_bytes(text.encode() + b"\n\xff")
    with pytest.raises(TableError, match=r"byte 0xff at offset 1,048,579, line 3"):
        open_table(folder / "a.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(folder: Path):
    assert len(open_table(written(folder / "a.csv", "image,text\nimages/0.png,a\n", "utf-8-sig"))) == 1


def test_semicolons_and_pipes_with_spaces(folder: Path):
    path = written(folder / "a.csv", "image_name| comment_number| comment\nimages/0.png| 0| a dog, running .\n")
    assert open_table(path)["text"][:] == [[" a dog, running ."]]
    path = written(folder / "b.csv", "image;text\nimages/0.png;a dog, running\n")
    assert open_table(path)["text"][:] == [["a dog, running"]]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "file,caption",
            r"no column of .*a.csv is known to be the image .*its columns are: file .*--image-column NAME",
        ),
        (
            "image,words",
            r"no column of .*a.csv is known to be the text .*its columns are: .*words .*--text-column NAME",
        ),
        ("image,caption,captions", r"several columns of .*a.csv could be the text: caption, captions; .*--text-column"),
        ("image,title,description", r"several columns of .*could be the text: title, description"),
        ("filename,path,text", r"several columns of .*could be the image: filename, path; .*--image-column NAME"),
        ("image,text,text", r"several columns called text"),
    ],
)
def test_missing_and_ambiguous_columns_are_listed_with_the_flag(folder: Path, header: str, message: str):
    cells = ",".join("images/0.png" for _ in header.split(","))
    path = written(folder / "a.csv", f"{header}\n{cells}\n")
    with pytest.raises(TableError, match=message):
        open_table(path)


def test_columns_named_by_the_user_win_and_the_displaced_ride_along(folder: Path):
    path = written(folder / "a.csv", "image,text,id,where,words,sku\nx,y,z,images/0.png,7,007\n")
    table = open_table(path, image_column="where", text_column="words", id_column="sku")
    assert (table["text"][0], table["id"][0]) == (["7"], "007")
    assert table.column_names[3:] == ["original_image", "original_text", "original_id"]
    with pytest.raises(TableError, match=r"no column 'wrods' \(--text-column\).*Did you mean 'words'\?"):
        open_table(path, text_column="wrods")
    with pytest.raises(TableError, match="no column 'x'"):
        open_table(path, id_column="x")


def test_a_text_column_of_numbers_is_refused_with_its_type(folder: Path):
    path = written(folder / "a.jsonl", json.dumps({"image": "images/0.png", "n": 1}))
    with pytest.raises(TableError, match=r"column 'n' of .* holds int64, not strings"):
        open_table(path, text_column="n")


def test_a_column_split_rides_along_as_strings(folder: Path):
    path = written(folder / "a.csv", "image,text,split\nimages/0.png,a,train\nimages/1.png,b,2024\n")
    assert open_table(path)["split"][:] == ["train", "2024"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty; expected a first line"),
        ("a.csv", "image,text\n", "has no rows"),
        (
            "a.csv",
            "image,text\nx.png,a\ny.png,b\n",
            r"none of the 2 rows .* 2 missing file \(the first: .*row 2: .*x.png\)",
        ),
        ("a.jsonl", "not json\n", r"has no rows: 1 broken line \(the first: .*line 1: not JSON"),
        ("a.parquet", "no parquet", "cannot be read as Parquet"),
        ("a.xlsx", "x", r"ends in .xlsx; expected a file ending in .tar, .csv"),
    ],
)
def test_sources_without_a_usable_row_say_what_was_found(folder: Path, name: str, content: str, message: str):
    bad = BadRows()
    with pytest.raises(TableError, match=message):
        open_table(written(folder / name, content), bad=bad)


def test_bad_rows_are_reported_even_if_nothing_is_left(folder: Path):
    bad = BadRows()
    with pytest.raises(TableError):
        open_table(written(folder / "a.csv", "image,text\nx.png,a\n"), bad=bad)
    assert bad.by_reason() == {"missing file": 1}


def test_values_that_disagree_become_strings_lists_or_json():
    rows = [{"a": 1, "b": "x", "c": {"k": 1}, "d": {}}, {"a": "2", "b": ["y"], "c": [1], "d": None}, {"b": None}]
    expected = {
        "a": ["1", "2", None],
        "b": [["x"], ["y"], None],
        "c": ['{"k": 1}', "[1]", None],
        "d": ["{}", None, None],
    }
    assert table_of(rows).to_pydict() == expected
    assert stack([table_of([row]) for row in rows]).to_pydict() == expected


def test_objects_with_data_for_keys_become_json():
    rows = [{"counts": {f"word{i}": 1}} for i in range(300)]
    assert table_of(rows)["counts"].to_pylist()[299] == '{"word299": 1}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), json_values, min_size=1), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_any_json_rows_fit_in_columns(rows: list[dict[str, object]], cut: int):
    table = stack([table_of(part) for part in (rows[:cut], rows[cut:]) if part])
    names = {name for row in rows for name in row}
    assert set(table.column_names) == names
    for name in names:
        nulls = [value is None for value in table[name].to_pylist()]
        assert nulls == [row.get(name) is None for row in rows]
