"""What is stored by item comes back as it was, whoever wrote it and however the writing ended."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.data.features import DamagedFeatures, FeatureStore, ShardWriter
from diptych.data.views import Features

Usage = namedtuple("Usage", "total used free")


def names(*numbers: int) -> np.ndarray:
    """Names that end in zero bytes, as one in 256 does: they must not be taken for shorter ones."""
    return np.array([number.to_bytes(8, "big") + bytes(8) for number in numbers], dtype="S16")


def sequences(*lengths: int, width: int = 3, seed: int = 0) -> list[Tensor]:
    """Random rows that bf16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, width, generator=generator).bfloat16().float() for length in lengths]


def write(folder: Path, items: np.ndarray, rows: list[Tensor], *, shard: int = 4, grid: tuple[int, ...] = ()) -> None:
    with ShardWriter(folder, items=shard) as writer:
        for start in range(0, len(items), 2):
            cut = slice(start, start + 2)
            writer.add(items[cut], torch.cat(rows[cut]), np.array([len(row) for row in rows[cut]]), grid=grid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "features" / "tokens"


def test_sequences_come_back_padded_in_the_order_asked_for(folder: Path):
    rows = sequences(3, 1, 0, 5, 2, 4, 1, 2, 2)
    write(folder, names(*range(9)), rows, grid=(1, 7))
    store = FeatureStore(folder)
    assert len(store.shards) == 3 and store.width == 3
    places = store.find(names(8, 2, 0, 8, 5))
    values, grids = store.take(places)
    assert store.lengths(places).tolist() == [2, 0, 3, 2, 4] and grids.tolist() == [[1, 7]] * 5
    expected = torch.nn.utils.rnn.pad_sequence([rows[8], rows[2], rows[0], rows[8], rows[5]], batch_first=True)
    assert torch.equal(values, expected)


def test_values_are_rounded_to_the_nearest_bf16(folder: Path):
    with ShardWriter(folder) as writer:  # bf16 has 7 bits after the point: steps of 1/128 above 1
        writer.add(names(1), torch.tensor([[1 + 3 / 512, 1 + 5 / 512, -3e38]]), np.array([1]))
    values = FeatureStore(folder).take(np.array([0]))[0].flatten().tolist()
    assert values[:2] == [1 + 1 / 128, 1 + 1 / 128] and values[2] == pytest.approx(-3e38, rel=2**-8)
    bits = np.load(next(folder.glob("shard-*")) / "values.npy", allow_pickle=False)
    assert bits.tolist()[0][:2] == [0x3F81, 0x3F81]


def test_items_that_are_not_there_are_said_to_be_missing(folder: Path):
    assert FeatureStore(folder).find(names(1, 2)).tolist() == [-1, -1]
    write(folder, names(5, 3), sequences(1, 1))
    store = FeatureStore(folder)
    assert store.find(names(3, 4, 5, 9, 0)).tolist() == [1, -1, 0, -1, -1]
    with pytest.raises(ValueError, match="no features of 1 of 2 items"):
        Features(names(3, 4), store)


def test_a_view_of_pooled_features_and_tokens(tmp_path: Path):
    pooled, tokens = sequences(1, 1, 1), sequences(2, 4, 1, width=5)
    write(tmp_path / "pooled", names(1, 2, 3), pooled)
    write(tmp_path / "tokens", names(3, 2, 1), tokens[::-1])
    stores = FeatureStore(tmp_path / "pooled"), FeatureStore(tmp_path / "tokens")
    view = Features(names(2, 1, 3, 2), *stores)
    assert view.lengths is not None and view.lengths.tolist() == [4, 2, 1, 4] and len(view) == 4
    taken = view.take(np.array([2, 1]))
    assert set(taken) == {"pooled", "tokens", "mask"}
    assert torch.equal(taken["pooled"], torch.cat([pooled[2], pooled[0]]))
    assert taken["mask"].tolist() == [[True, False], [True, True]]
    assert torch.equal(taken["tokens"][taken["mask"]], torch.cat([tokens[2], tokens[0]]))
    none = view.take(np.zeros(0, np.int64))
    assert none["pooled"].shape == (0, 3) and none["tokens"].shape[::2] == (0, 5)
    assert set(Features(names(1), stores[0]).take(np.array([0]))) == {"pooled"}


def test_what_was_finished_before_a_stop_is_kept(folder: Path):
    rows = sequences(*[1] * 10)
    with pytest.raises(KeyboardInterrupt), ShardWriter(folder, items=4) as writer:
        for i in range(7):
            writer.add(names(i), rows[i], np.array([1]))
        raise KeyboardInterrupt
    store = FeatureStore(folder)
    assert (store.find(names(*range(10))) >= 0).tolist() == [True] * 7 + [False] * 3
    assert [len(shard.items) for shard in store.shards] in ([4, 3], [3, 4])


def test_what_a_killed_process_left_is_no_shard_and_goes(folder: Path):
    write(folder, names(1), sequences(1))
    left = folder / ".shard-999999999-abc"  # beyond the largest process number that Linux gives
    shutil.copytree(next(folder.glob("shard-*")), left)
    assert len(FeatureStore(folder).shards) == 1
    ShardWriter(folder)
    assert not left.exists()


def test_two_may_write_while_a_third_reads(folder: Path):
    rows = sequences(*[2] * 40)
    write(folder, names(0), rows[:1])

    def fill(start: int) -> None:
        write(folder, names(*range(start, 40)), rows[start:], shard=4)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(fill, start) for start in (0, 20)]
        while not all(one.done() for one in running):
            store = FeatureStore(folder)
            assert store.find(names(0))[0] >= 0
            store.check(np.arange(sum(len(shard.items) for shard in store.shards)))
        for one in running:
            one.result()
    values, _ = FeatureStore(folder).take(FeatureStore(folder).find(names(*range(40))))
    assert torch.equal(values, torch.stack(rows))


@pytest.mark.parametrize("how", ["cut short", "one byte altered", "missing", "other content"])
@pytest.mark.parametrize("file", ["items.npy", "starts.npy", "grids.npy", "values.npy", "shard.json"])
def test_a_damaged_file_is_named_and_what_to_delete(folder: Path, file: str, how: str):
    write(folder, names(1, 2), sequences(1, 2), grid=(2,))
    shard = next(folder.glob("shard-*"))
    content = (shard / file).read_bytes()
    altered = content[:-2] + bytes([content[-2] ^ 4]) + content[-1:]
    damaged = {"cut short": content[:-3], "one byte altered": altered, "other content": b"no array " * 40}
    (shard / file).unlink()
    if how in damaged:
        (shard / file).write_bytes(damaged[how])
    with pytest.raises(DamagedFeatures, match=rf"{file} is damaged .*delete the folder {shard}"):
        Features(names(1), FeatureStore(folder))
    shutil.rmtree(shard)
    assert FeatureStore(folder).find(names(1)).tolist() == [-1]


def test_a_shard_of_another_width_is_damage(folder: Path):
    write(folder, names(1), sequences(1, width=3))
    write(folder, names(2), sequences(1, width=4))
    with pytest.raises(DamagedFeatures, match=r"width [34], others have [34]"):
        FeatureStore(folder)


def test_a_full_disk_is_found_before_writing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write(folder, names(1), sequences(1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 1 << 40, 0))
    with pytest.raises(OSError, match="no space left") as error:
        write(folder, names(2), sequences(1))
    assert error.value.errno == errno.ENOSPC
    assert [path.name.split("-")[0] for path in folder.iterdir()] == ["shard"]
    assert FeatureStore(folder).find(names(1, 2)).tolist() == [0, -1]
