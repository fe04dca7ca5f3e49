"""Datasets that are datasets already: saved ones, and local folders that stand in for the hub."""

import io
from pathlib import Path

import datasets
import pytest
from PIL import Image

from diptych.data.bad_rows import BadRows
from diptych.data.sources import TableError, open_table


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, "PNG")
    return stream.getvalue()


def pictures(texts: list[str], first: int = 0) -> datasets.Dataset:
    """A dataset as others make them: decoding images, class labels, more columns."""
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "caption": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = [
        {"picture": {"bytes": picture(first + i), "path": None}, "caption": text, "kind": i % 2}
        for i, text in enumerate(texts)
    ]
    return datasets.Dataset.from_list(rows, features=features)


def test_a_saved_dataset_is_mapped_undecoded_with_its_other_columns(tmp_path: Path):
    pictures(["a", "b", " "]).save_to_disk(tmp_path / "d")
    bad = BadRows()
    table = open_table(tmp_path / "d", bad=bad)
    assert table["image"][:] == [{"bytes": picture(i), "path": None} for i in range(2)]
    assert table.column_names == ["image", "text", "id", "kind"]
    assert table.features["kind"] == datasets.ClassLabel(names=["cat", "dog"])
    assert table["id"][:] == ["0", "1"]
    assert [(entry.row, entry.where) for entry in bad] == [(2, f"{tmp_path / 'd'}, row 3")]


def test_class_names_may_be_the_texts(tmp_path: Path):
    pictures(["", ""]).save_to_disk(tmp_path / "d")
    assert open_table(tmp_path / "d", text_column="kind")["text"][:] == [["cat"], ["dog"]]


def test_keys_of_a_saved_dict_are_splits(tmp_path: Path):
    parts = {"train": pictures(["a", "b"]), "test": pictures(["c"], first=2)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")  # pyright: ignore[reportCallIssue, reportArgumentType]
    table = open_table(tmp_path / "d")
    assert table["split"][:] == ["train", "train", "test"]
    assert table["id"][:] == ["train/0", "train/1", "test/0"]
    assert table[2]["image"]["bytes"] == picture(2)


def test_a_table_saved_again_is_the_same_table(tmp_path: Path):
    pictures(["a", "b"]).save_to_disk(tmp_path / "d")
    first = open_table(tmp_path / "d")
    first.save_to_disk(tmp_path / "again")
    again = open_table(tmp_path / "again")
    assert again.features == first.features
    assert again[:] == first[:]


def test_images_by_path_in_a_saved_dataset_are_looked_for(tmp_path: Path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(picture(1))
    images = [{"bytes": None, "path": str(tmp_path / name)} for name in ("1.png", "2.png")]
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # what Image() is on disk
    features = datasets.Features({"image": struct, "text": datasets.Value("string")})
    datasets.Dataset.from_dict({"image": images, "text": ["a", "b"]}, features=features).save_to_disk(tmp_path / "d")
    (tmp_path / "2.png").unlink()
    bad = BadRows()
    table = open_table(tmp_path / "d", bad=bad)
    assert table["image"][:] == images[:1]
    assert bad.by_reason() == {"missing file": 1}


def test_a_broken_saved_dataset_says_so(tmp_path: Path):
    pictures(["a"]).save_to_disk(tmp_path / "d")
    next((tmp_path / "d").glob("*.arrow")).unlink()
    with pytest.raises(TableError, match="was written by save_to_disk but cannot be opened"):
        open_table(tmp_path / "d")


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_laid_out_like_the_hub(tmp_path: Path, prefix: str):
    folder = tmp_path / "org" / "name"
    (folder / "data").mkdir(parents=True)
    pictures(["a", "b"]).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    pictures(["c"], first=2).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    table = open_table(f"{prefix}{folder}")
    assert dict(zip(table["id"][:], table["split"][:], strict=True)) == {
        "train/0": "train",
        "train/1": "train",
        "test/0": "test",
    }
    pairs = zip(table["text"][:], table["image"][:], strict=True)
    assert {texts[0]: image["bytes"] for texts, image in pairs} == {t: picture(i) for i, t in enumerate("abc")}


def test_names_of_the_hub_are_asked_for_with_their_configuration(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def load_dataset(path: str, name: str | None) -> datasets.DatasetDict:
        asked.append((path, name))
        return datasets.DatasetDict({"train": pictures(["a"])})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for source in ("org/name", "hf:org/name", "org/name:small", "hf:name:small"):
        assert open_table(source)["split"][:] == ["train"]
    assert asked == [("org/name", None), ("org/name", None), ("org/name", "small"), ("name", "small")]


def test_a_path_into_a_folder_that_is_here_is_no_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TableError, match="there is no photos/2024"):
        open_table("photos/2024")


def test_a_dataset_that_cannot_be_had_says_what_to_check(monkeypatch: pytest.MonkeyPatch):
    def load_dataset(path: str, name: str | None) -> datasets.DatasetDict:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(TableError, match=r"'org/name' with configuration 'x' .*no route to host.*network.*login"):
        open_table("org/name:x")
