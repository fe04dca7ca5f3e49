"""Streams: every pair once, orders from seeds, going on at a shard, and whatever is broken set aside by name."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diptych.core.batch import Batch
from diptych.core.pairing import share_a_key
from diptych.data.bad_rows import BadRows
from diptych.data.crop import RandomCrop
from diptych.data.pairs import prepare
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.data.sources import TableError, open_table
from diptych.data.sources.shards import list_shards
from diptych.data.stream import BEGINNING, Place, Stream, open_stream

PROCESSORS = {"image": ImageProcessor(8), "text": TextProcessor(300, max_length=12).fit(["picture number"])}


def picture(number: int) -> bytes:
    """A picture that says which it is: its number in red and green."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256, 0)).save(stream, "PNG")
    return stream.getvalue()


def tar_of(members: Iterable[tuple[str, bytes | str]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def members(numbers: Iterable[int]) -> list[tuple[str, bytes | str]]:
    return [one for n in numbers for one in ((f"{n:05}.png", picture(n)), (f"{n:05}.txt", f"picture number {n}"))]


def write_shards(folder: Path, lengths: Iterable[int]) -> list[range]:
    """Tars 0.tar, 1.tar ... of pictures numbered through; returns the numbers in each."""
    folder.mkdir(exist_ok=True)
    ends = np.cumsum(list(lengths)).tolist()
    numbers = [range(first, last) for first, last in zip([0, *ends], ends, strict=False)]
    for i, own in enumerate(numbers):
        (folder / f"{i}.tar").write_bytes(tar_of(members(own)))
    return numbers


def stream_of(source: Path | str, *, bad: BadRows | None = None, samples_per_epoch: int | None = None) -> Stream:
    stream = open_stream(source, PROCESSORS, bad=bad, samples_per_epoch=samples_per_epoch)
    return replace(stream, batch_size=4, buffer=3, threads=0, ahead=0)


def seen(batch: Batch) -> list[int]:
    """The numbers of a batch's pictures."""
    pixels = batch.inputs["image"]["pixels"]
    return (pixels[:, 0, 0, 0].int() + 256 * pixels[:, 1, 0, 0].int()).tolist()


def epoch_of(stream: Stream, epoch: int = 0, start: Place = BEGINNING, size: int = 1) -> list[int]:
    ranks = [stream.batches(epoch, start, rank, size) for rank in range(size)]
    return [number for batches in ranks for batch, _ in batches for number in seen(batch)]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[7, 5, 6, 4], [5], [1, 1], [9, 1, 1, 1, 1, 20]])
def test_every_pair_comes_once_an_epoch_over_all_processes(tmp_path: Path, lengths: list[int], size: int):
    write_shards(tmp_path, lengths)
    stream = stream_of(tmp_path)
    for epoch in range(2):
        ranks = [[batch for batch, _ in stream.batches(epoch, rank=rank, size=size)] for rank in range(size)]
        assert sorted(n for batches in ranks for batch in batches for n in seen(batch)) == list(range(sum(lengths)))
        assert {len(batches) for batches in ranks} == {stream.steps(epoch, size)}
        for parts in zip(*ranks, strict=True):
            assert 1 <= sum(part.size("image") for part in parts) <= 4
        for batches in ranks:
            sizes = [batch.size("image") for batch in batches]
            assert max(sizes) - min(sizes) <= 1
        items = [n for batches in ranks for batch in batches for n in batch.items["image"].tolist()]
        assert len(set(items)) == sum(lengths)
        for batch in (batch for batches in ranks for batch in batches):
            assert batch.items["text"].tolist() == batch.items["image"].tolist()


def test_the_order_is_decided_by_key_and_epoch(tmp_path: Path):
    write_shards(tmp_path, [6, 6, 6])
    stream = stream_of(tmp_path)
    orders = [tuple(epoch_of(replace(stream, key=key), epoch)) for key in [(0,), (1,)] for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert tuple(epoch_of(stream_of(tmp_path), 1)) == orders[1]


def test_a_buffer_of_one_leaves_the_order_within_shards_and_a_larger_one_mixes_only_near_pairs(tmp_path: Path):
    numbers = write_shards(tmp_path, [30, 30, 30])
    stream = stream_of(tmp_path)
    plain = epoch_of(replace(stream, buffer=1))
    shards = [plain[first : first + 30] for first in (0, 30, 60)]
    assert sorted(map(tuple, shards)) == [tuple(own) for own in numbers]
    mixed = epoch_of(replace(stream, buffer=8))
    assert mixed != plain
    early = [plain.index(number) - at for at, number in enumerate(mixed)]
    assert max(early) <= 8  # the buffer holds 8, and one is on its way


def test_threads_change_nothing(tmp_path: Path):
    write_shards(tmp_path, [9, 14])
    stream = stream_of(tmp_path)
    ways = [(batch.items["image"].tolist(), place) for batch, place in stream.batches(0)]
    for threads, ahead in [(2, 0), (0, 2), (3, 3)]:
        other = replace(stream, threads=threads, ahead=ahead)
        assert [(batch.items["image"].tolist(), place) for batch, place in other.batches(0)] == ways


@pytest.mark.parametrize("size", [1, 2])
def test_an_epoch_goes_on_at_a_shard_with_exactly_the_remaining_ones(tmp_path: Path, size: int):
    write_shards(tmp_path, [6] * 5)
    stream = stream_of(tmp_path)
    order = [number // 6 for number in epoch_of(replace(stream, buffer=1))[::6]]
    places = []
    for stop in range(1, stream.steps(0, size)):
        ranks = [stream.batches(0, rank=rank, size=size) for rank in range(size)]
        taken = [[next(batches) for _ in range(stop)] for batches in ranks]
        done = {number for batches in taken for batch, _ in batches for number in seen(batch)}
        place = min(batches[-1][1] for batches in taken)
        places.append(place.shard)
        rest = epoch_of(stream, 0, place, size)
        assert sorted(rest) == sorted(n for shard in order[place.shard :] for n in range(6 * shard, 6 * shard + 6))
        assert done | set(rest) == set(range(30))
        batches = len(list(stream.batches(0, place, size=size)))
        assert place.batch + batches == stream.steps(0, size) and place.batch <= stop
    assert places == sorted(places) and places[-1] >= 2  # a buffer of 3 and a batch of 4 reach over two shards at most


def test_after_the_last_batch_nothing_is_left(tmp_path: Path):
    write_shards(tmp_path, [6, 3])
    stream = stream_of(tmp_path)
    last = list(stream.batches(0))[-1][1]
    assert last == Place(2, stream.steps(0)) and list(stream.batches(0, last)) == []


def test_what_is_broken_is_set_aside_by_shard_and_sample(tmp_path: Path):
    other = [
        ("a.png", picture(100)[:-30]), ("a.txt", "cut picture"),
        ("b.png", picture(101)),
        ("c.png", picture(102)), ("c.json", "{broken"),
        ("d.png", b"<html>"), ("d.txt", "a page"),
        ("e.png", picture(3)), ("e.txt", "picture number 3"),
    ]  # fmt: skip
    (tmp_path / "0.tar").write_bytes(tar_of(members(range(3))))
    (tmp_path / "1.tar").write_bytes(tar_of(other))
    (tmp_path / "2.tar").write_bytes(tar_of(members(range(4, 7)))[: 512 * 9 + 10])  # cut in the third picture
    (tmp_path / "3.tar").write_bytes(b"no tar")
    bad = BadRows()
    stream = stream_of(tmp_path, bad=bad)
    for _ in range(2):
        assert sorted(epoch_of(stream)) == [0, 1, 2, 3, 4, 5]
    assert {(entry.where, entry.reason) for entry in bad} == {
        (f"{tmp_path}/1.tar, sample a", "truncated image"),
        (f"{tmp_path}/1.tar, sample b", "empty text"),
        (f"{tmp_path}/1.tar, sample c", "broken json"),
        (f"{tmp_path}/1.tar, sample d", "not an image"),
        (f"{tmp_path}/2.tar, member 00006.png", "truncated tar"),
        (f"{tmp_path}/3.tar", "not a tar"),
    }


def test_a_shard_that_has_gone_is_a_bad_row(tmp_path: Path):
    write_shards(tmp_path, [2, 2])
    bad = BadRows()
    stream = stream_of(tmp_path, bad=bad, samples_per_epoch=3)
    (tmp_path / "1.tar").unlink()
    assert set(epoch_of(stream)) == {0, 1}
    assert [(entry.where, entry.reason) for entry in bad] == [(f"{tmp_path}/1.tar", "unreadable shard")]


@pytest.mark.parametrize("samples_per_epoch", [None, 5])
def test_no_usable_pair_is_an_error_not_an_endless_epoch(tmp_path: Path, samples_per_epoch: int | None):
    broken = [(f"{n}.{suffix}", data) for n in range(2) for suffix, data in (("png", b"x"), ("txt", "a"))]
    (tmp_path / "0.tar").write_bytes(tar_of(broken))
    with pytest.raises(ValueError, match=r"no pair of 1 shards .* can be used. 2 bad rows set aside \(2 not an image"):
        epoch_of(stream_of(tmp_path, samples_per_epoch=samples_per_epoch))


def test_keys_match_what_a_table_of_the_same_rows_matches(tmp_path: Path):
    rows = [
        {"id": "a", "captions": ["One dog", "sun"]},
        {"id": "b", "captions": ["one  DOG"]},
        {"id": "c", "captions": ["a cat"]},
        {"id": "a", "captions": ["moon", "a cat", "moon"]},
    ]
    pairs = [((f"{n}.png", picture(n)), (f"{n}.json", json.dumps(row))) for n, row in enumerate(rows)]
    (tmp_path / "0.tar").write_bytes(tar_of(member for pair in pairs for member in pair))
    table = prepare(open_table(tmp_path / "0.tar"), PROCESSORS)
    for texts in (1, 2, 9):
        stream = replace(stream_of(tmp_path), texts_per_image=texts)
        (batch, _) = next(stream.batches(0))
        order = np.array(seen(batch))
        row_of = dict(zip(batch.items["image"].tolist(), order.tolist(), strict=True))
        owners = [row_of[item] for item in batch.items["text"].tolist()]
        assert Counter(owners) == {n: min(texts, len(row["captions"])) for n, row in enumerate(rows)}
        whole = table.batch(order, np.arange(table.texts))
        images = share_a_key(batch.keys["image"], batch.keys["image"])
        assert images.tolist() == share_a_key(whole.keys["image"], whole.keys["image"]).tolist()
        for column, (key, owner) in enumerate(zip(batch.keys["text"].tolist(), owners, strict=True)):
            same = [i for i, other in enumerate(whole.keys["text"].tolist()) if key == other]
            assert same and table.keys.owner[same[0]] == owner
            expected = share_a_key(whole.keys["image"], whole.keys["text"])[:, same[0]]
            found = share_a_key(batch.keys["image"], batch.keys["text"])[:, column]
            assert found.tolist() == expected.tolist()


def test_texts_are_drawn_anew_each_epoch_and_without_repetition(tmp_path: Path):
    captions = json.dumps({"text": [f"n{i}" for i in range(5)]})
    (tmp_path / "0.tar").write_bytes(tar_of([("0.png", picture(0)), ("0.json", captions)]))
    drawn = set()
    for epoch in range(12):
        ((batch, _),) = replace(stream_of(tmp_path), texts_per_image=2).batches(epoch)
        keys = batch.keys["text"][:, 1].tolist()
        assert len(set(keys)) == 2
        drawn |= set(keys)
    assert len(drawn) == 5  # 12 draws of 2 miss one of 5 with probability 5 * 0.6^12 = 0.01; the seed is fixed


def test_sources_are_folders_files_patterns_and_urls(tmp_path: Path):
    write_shards(tmp_path, [1] * 12)
    for i in range(12):
        (tmp_path / f"{i}.tar").rename(tmp_path / f"{i:03}.tar")
    names = [str(tmp_path / f"{i:03}.tar") for i in range(12)]
    assert list(list_shards(tmp_path)) == list(list_shards(f"{tmp_path}/*.tar")) == names
    assert list(list_shards(f"{tmp_path}/{{009..011}}.tar")) == names[9:]
    assert list(list_shards(tmp_path / "003.tar")) == [names[3]]
    assert sorted(epoch_of(stream_of(f"{tmp_path}/{{000..005}}.tar"))) == [0, 1, 2, 3, 4, 5]
    assert list_shards("s3://photos/{08..10}.tar") == tuple(f"s3://photos/{i}.tar" for i in ("08", "09", "10"))
    with pytest.raises(TableError, match=r"2 of its files are missing, the first .*012.tar"):
        list_shards(f"{tmp_path}/{{010..013}}.tar")
    with pytest.raises(TableError, match=r"no .tar and no .parquet"):
        list_shards(tmp_path.parent / tmp_path.name / "..")
    with pytest.raises(TableError, match=r"a.zip is no .tar or .parquet"):
        list_shards("https://example.org/a.zip")


def test_remote_shards_are_read_and_their_number_must_be_said():
    files = fsspec.filesystem("memory")
    for i in range(3):
        files.pipe(f"/photos/{i}.tar", tar_of(members(range(4 * i, 4 * i + 4))))
    stream = stream_of("memory://photos/{0..2}.tar")
    with pytest.raises(TableError, match=r"memory://photos/0.tar is remote and too slow to count"):
        stream.steps(0)
    stream = stream_of("memory://photos/{0..2}.tar", samples_per_epoch=12)
    assert sorted(epoch_of(stream)) == list(range(12))
    assert sorted(stream.texts()) == sorted(f"picture number {n}" for n in range(12))


@pytest.mark.parametrize("size", [1, 2])
def test_a_stated_length_is_kept_to_by_reading_again_or_leaving(tmp_path: Path, size: int):
    write_shards(tmp_path, [5, 5, 5])
    counts = Counter(epoch_of(stream_of(tmp_path, samples_per_epoch=40), size=size))
    assert sum(counts.values()) == 40 and set(counts) == set(range(15))
    short = stream_of(tmp_path, samples_per_epoch=8)
    assert len(set(epoch_of(short, size=size))) == 8 and short.steps(0, size) == 2
    place = min(place for _, place in [next(short.batches(0, rank=rank, size=size)) for rank in range(size)])
    assert place.batch == 1 and len(epoch_of(short, 0, place, size)) == 4


def test_parquet_shards_give_the_same_pairs(tmp_path: Path):
    for i in range(2):
        rows = [{"image": {"bytes": picture(n), "path": None}, "caption": f"n{n}"} for n in range(3 * i, 3 * i + 3)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{i}.parquet")
    stream = stream_of(tmp_path)
    assert sorted(epoch_of(stream)) == list(range(6)) and sorted(stream.texts()) == [f"n{n}" for n in range(6)]
    pq.write_table(pa.Table.from_pylist([{"image": "a.png", "caption": "a"}]), tmp_path / "paths.parquet")
    with pytest.raises(TableError, match=r"holds string; a stream reads images that lie in its shards"):
        stream_of(tmp_path / "paths.parquet")


def test_a_split_is_taken_from_the_column(tmp_path: Path):
    rows = [(n, {"text": f"n{n}", "split": "test" if n % 3 else "train"}) for n in range(9)]
    pairs = [one for n, row in rows for one in ((f"{n}.png", picture(n)), (f"{n}.json", json.dumps(row)))]
    (tmp_path / "0.tar").write_bytes(tar_of(pairs))
    stream = replace(stream_of(tmp_path), split="train")
    assert sorted(epoch_of(stream)) == [0, 3, 6] and stream.texts(2) == ["n0", "n3"] and stream.steps(0) == 1
    with pytest.raises(ValueError, match=r"split 'dev' of 1 shards .* holds no pairs"):
        replace(stream, split="dev").steps(0)


def test_nothing_is_decoded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_shards(tmp_path, [13, 8])
    calls: list[object] = []
    one = ImageProcessor.one
    monkeypatch.setattr(ImageProcessor, "one", lambda *a, **k: (calls.append(a[1]), one(*a, **k))[1])
    epoch_of(replace(stream_of(tmp_path), threads=2, ahead=2), size=2)
    assert len(calls) == len(set(calls)) == 21


def test_counts_are_kept_until_a_shard_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_shards(tmp_path, [4, 5])
    assert stream_of(tmp_path).steps(0) == 3
    read: list[str] = []
    from diptych.data.sources import shards

    pairs = shards.read_pairs
    monkeypatch.setattr(shards, "read_pairs", lambda shard, *a, **k: (read.append(shard), pairs(shard, *a, **k))[1])
    assert stream_of(tmp_path).steps(0) == 3 and read == []
    (tmp_path / "1.tar").write_bytes(tar_of(members(range(4, 14))))
    assert stream_of(tmp_path).steps(0) == 4 and read == [str(tmp_path / "1.tar")]


def test_a_random_part_is_another_each_epoch_and_the_same_however_it_is_read(tmp_path: Path):
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (64, 64))
    stream_ = io.BytesIO()
    Image.fromarray(ramp.copy()).convert("RGB").save(stream_, "PNG")
    (tmp_path / "0.tar").write_bytes(tar_of([("0.png", stream_.getvalue()), ("0.txt", "a ramp")]))
    stream = replace(stream_of(tmp_path), crop=RandomCrop(0.25, 1.0))
    first, again, other = (next(stream.batches(epoch))[0].inputs["image"]["pixels"] for epoch in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


def test_settings_that_cannot_be_are_refused(tmp_path: Path):
    write_shards(tmp_path, [2])
    with pytest.raises(ValueError, match="batch_size is 4; 5 processes need at least one pair each"):
        stream_of(tmp_path).batches(0, size=5)
    with pytest.raises(ValueError, match="buffer is 0; it must be at least 1"):
        replace(stream_of(tmp_path), buffer=0)
    with pytest.raises(TypeError, match="decodes by an ImageProcessor, not by TextProcessor"):
        open_stream(tmp_path, {"image": PROCESSORS["text"], "text": PROCESSORS["text"]})
