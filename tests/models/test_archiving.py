"""Archives of embeddings: what is in them, going on after an interruption, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.data.archive import Archive, ArchiveError, Shard
from diptych.data.bad_rows import BadRows
from diptych.data.cache import cache_root
from diptych.data.pairs import prepare, tokenize
from diptych.data.processors import TextProcessor
from diptych.data.sources import open_table
from diptych.models import Towers, dual_encoder
from diptych.models.archiving import embed_table, finish
from diptych.models.checkpoint import fingerprint
from diptych.models.embed import embed, stored_features, with_frozen_features
from diptych.scoring import Dot

ROUNDED = 1e-4  # features are kept in bf16 (relative 2^-9), vectors in float16: cosines move by less than this


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


def model_of(rows: Dataset, *, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    towers = Towers(image_size=16, width=8, vocab_size=300, max_length=20, text_depth=1, patch=4, depths=(1, 1, 1))
    model = dual_encoder(towers, parts={"dot": Dot()})
    model.processors["text"].fit([text for texts in rows["text"][:] for text in texts])
    return model.eval().requires_grad_(False)


class Counted:
    """How many rows the towers ran on."""

    def __init__(self, model: Model) -> None:
        self.ran = dict.fromkeys(model.towers, 0)
        for name, tower in model.towers.items():
            tower.register_forward_pre_hook(self._counter(name))

    def _counter(self, name: str) -> Callable:
        def count(_, inputs: tuple) -> None:
            self.ran[name] += len(next(iter(inputs[0].values())))

        return count


def archive(
    model: Model, rows: Dataset, folder: Path, *, shard_rows: int = 20, overwrite: bool = False, **more
) -> Archive:
    name = fingerprint(model)
    Archive.begin(folder, model="tiny", fingerprint=name, overwrite=overwrite)
    embed_table(model, rows, folder, fingerprint=name, shard_rows=shard_rows, **more)
    return finish(folder, len(rows), fingerprint=name, name="tiny", source="shapes", shard_rows=shard_rows)


def joined(archive: Archive, name: str) -> torch.Tensor:
    return torch.cat([shard.vectors(name) for shard in archive]).float()


def test_the_vectors_are_those_of_embed(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    archive(model, rows, tmp_path / "a")
    there = Archive.open(tmp_path / "a")
    assert (there.rows, there.texts, there.shards) == (72, 144, 4)
    assert there.widths == {"image/dense": 8, "text/dense": 8} and there.precision["image"] == "float32"
    pairs = prepare(rows, model.processors)
    for view in ("image", "text"):
        wanted = embed(model, view, pairs.views[view], precision="float32").dense
        assert F.cosine_similarity(joined(there, f"{view}/dense"), wanted).min() > 1 - ROUNDED
    last = list(there)[3]
    table = last.rows()
    assert table["id"].to_pylist() == rows["id"][60:] and table["_row"].to_pylist() == list(range(60, 72))
    assert table["shape"].to_pylist() == rows["shape"][60:] and table["_image"][0].as_py().endswith("060.png")
    assert last.vectors("text/owner").tolist() == [i // 2 for i in range(24)]


def test_an_interruption_loses_nothing(rows: Dataset, tmp_path: Path):
    model, whole = model_of(rows), model_of(rows)

    def stop(done: int, total: int, items: int) -> None:
        if done > 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive(model, rows, tmp_path / "a", progress=stop)
    with pytest.raises(ArchiveError, match="not finished"):
        Archive.open(tmp_path / "a")
    first = Shard(tmp_path / "a", 0).stem.with_suffix(".safetensors").stat().st_mtime_ns
    counted = Counted(model)
    again = archive(model, rows, tmp_path / "a")
    assert counted.ran["image"] <= 12  # those of the last shard: the third's were stored when it was interrupted
    assert Shard(tmp_path / "a", 0).stem.with_suffix(".safetensors").stat().st_mtime_ns == first
    other = archive(whole, rows, tmp_path / "b")
    assert torch.equal(joined(again, "image/dense"), joined(other, "image/dense"))


def test_only_what_changed_is_made_again(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    archive(model, rows.select(range(70)), tmp_path / "a")
    counted = Counted(model)
    assert archive(model, rows, tmp_path / "a").rows == 72
    assert counted.ran["image"] == 2
    assert archive(model, rows.select(range(30)), tmp_path / "a").shards == 2
    assert not list((tmp_path / "a").glob("shard-00002*"))


def test_a_shard_cut_short_is_made_again(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    before = joined(archive(model, rows, tmp_path / "a"), "image/dense")
    file = tmp_path / "a" / "shard-00001.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArchiveError, match=r"shards \[1\]"):
        Archive.open(tmp_path / "a")
    counted = Counted(model)
    assert torch.equal(joined(archive(model, rows, tmp_path / "a"), "image/dense"), before)
    assert counted.ran == {"image": 0, "text": 0}  # its features are in the store


def test_training_and_evaluation_find_what_embed_computed(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    archive(model, rows, tmp_path / "a")
    counted = Counted(model)
    with_frozen_features(model, prepare(rows, model.processors))
    assert counted.ran == {"image": 0, "text": 0}


def test_several_processes_make_the_same_archive(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    name = fingerprint(model)
    Archive.begin(tmp_path / "a", model="tiny", fingerprint=name)
    for number in (1, 0):
        embed_table(model, rows, tmp_path / "a", fingerprint=name, shard_rows=20, part=(number, 2))
    both = finish(tmp_path / "a", len(rows), fingerprint=name, name="tiny", shard_rows=20)
    alone = archive(model, rows, tmp_path / "b")
    for vectors in ("image/dense", "text/dense", "text/owner"):
        assert torch.equal(joined(both, vectors), joined(alone, vectors))


def test_bad_images_are_told_and_their_rows_left_out(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (30, 20), (50 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"picture {i}\nagain {i}")
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "4.png").write_bytes(b"nor this")
    rows = open_table(folder)
    model = model_of(rows)
    bad = BadRows()
    there = archive(model, rows, tmp_path / "a", shard_rows=4, bad=bad)
    assert (there.rows, there.texts) == (3, 6)
    assert [(one.row, one.reason) for one in bad] == [(3, "not an image"), (4, "not an image")]
    assert list(there)[1].vectors("image/dense").shape == (0, 8)  # a shard without a good image is no error
    told = BadRows()
    archive(model, rows, tmp_path / "a", shard_rows=4, bad=told)  # nor are they forgotten where the shard is kept
    assert list(told) == list(bad)
    with pytest.raises(ArchiveError, match="none of the 2 rows"):
        archive(model, rows.select([3, 4]), tmp_path / "b")


def test_images_need_no_texts(tmp_path: Path, rows: Dataset):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (9, 13, 3), np.uint8)).save(folder / f"{i}.jpg")
    bare = open_table(folder, needs_text=False)
    assert bare["text"][:] == [[], [], []]
    there = archive(model_of(rows), bare, tmp_path / "a")
    assert (there.rows, there.texts) == (3, 0) and joined(there, "text/dense").shape == (0, 8)


def test_what_is_there_is_not_lost(rows: Dataset, tmp_path: Path):
    archive(model_of(rows), rows, tmp_path / "a")
    with pytest.raises(ArchiveError, match="of another model"):
        archive(model_of(rows, seed=1), rows, tmp_path / "a")
    assert archive(model_of(rows, seed=1), rows, tmp_path / "a", overwrite=True).rows == 72
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "shard-00000.parquet").write_text("of somebody else")
    with pytest.raises(ArchiveError, match="something else"):
        archive(model_of(rows), rows, tmp_path / "shards")
    with pytest.raises(ArchiveError, match="is a file"):
        archive(model_of(rows), rows, tmp_path / "shards" / "shard-00000.parquet")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("do not lose this")
    with pytest.raises(ArchiveError, match="something else"):
        archive(model_of(rows), rows, tmp_path / "letters")


def test_what_is_no_archive_is_said(tmp_path: Path, rows: Dataset):
    with pytest.raises(ArchiveError, match="no archive"):
        Archive.open(tmp_path)
    there = archive(model_of(rows), rows, tmp_path / "a")
    with pytest.raises(ArchiveError, match="has no 'image/lexical'"):
        next(iter(there)).vectors("image/lexical")
    (tmp_path / "a" / "archive.json").write_text("{")
    with pytest.raises(ArchiveError, match="not finished"):
        Archive.open(tmp_path / "a")
    assert archive(model_of(rows), rows, tmp_path / "a").rows == 72  # as it says


def test_what_was_left_by_a_crash_is_no_obstacle(rows: Dataset, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".shard-00000.parquet.123.writing").write_text("half")
    assert archive(model_of(rows), rows, tmp_path / "a").rows == 72


def test_an_interrupted_replacement_is_not_taken_for_either_model(rows: Dataset, tmp_path: Path):
    archive(model_of(rows), rows, tmp_path / "a")

    def stop(done: int, total: int, items: int) -> None:
        if done > 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive(model_of(rows, seed=1), rows, tmp_path / "a", overwrite=True, progress=stop)
    with pytest.raises(ArchiveError, match="not finished"):
        Archive.open(tmp_path / "a")
    with pytest.raises(ArchiveError, match="of another model"):  # what was begun is the second's now
        archive(model_of(rows), rows, tmp_path / "a")


def test_a_picture_changed_meanwhile_is_made_again(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (30, 20), (80 * i, 0, 0)).save(folder / f"{i}.png")
    rows = open_table(folder, needs_text=False)
    model = model_of(Dataset.from_dict({"text": [["a"]]}))

    def change(done: int, total: int, items: int) -> None:
        Image.new("RGB", (31, 20), (0, 0, 200)).save(folder / "2.png")

    before = joined(archive(model, rows, tmp_path / "a", progress=change), "image/dense")
    after = joined(archive(model, rows, tmp_path / "a"), "image/dense")
    assert torch.equal(before[:2], after[:2]) and not torch.equal(before[2], after[2])


def test_columns_of_ours_are_not_replaced(rows: Dataset, tmp_path: Path):
    more = rows.add_column("path", ["theirs"] * 72).add_column("row", list(range(72)))  # type: ignore[call-arg]
    table = next(iter(archive(model_of(rows), more, tmp_path / "a"))).rows()
    assert table["path"][0].as_py() == "theirs" and table["_image"][0].as_py().endswith("000.png")
    with pytest.raises(ValueError, match="_row"):
        archive(model_of(rows), rows.add_column("_row", [0] * 72), tmp_path / "b")  # type: ignore[call-arg]


def test_filled_texts_have_features_of_their_own_length(rows: Dataset):
    model = model_of(rows)
    texts = ["a red circle", "one square"]
    for length in (10, 20):
        fill = TextProcessor(300, max_length=length, definition=model.processors["text"].definition, fill=True)  # type: ignore[attr-defined]
        stored_features(model, "text", tokenize(texts, fill)[0])
    counted = Counted(model)
    stored_features(model, "text", tokenize(texts, fill)[0])
    assert counted.ran["text"] == 0
    assert len(list((cache_root() / "features").glob("*/pooled"))) == 2
