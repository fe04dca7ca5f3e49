"""Two launched processes learn what one learns: replicas, and towers sharded over them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych.cli import main
from diptych.data.archive import Archive
from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.models import load
from diptych.training.journal import read_log
from diptych.training.run import train
from diptych.training.running import Running

sys.path.insert(0, str(Path(__file__).parent))
import launched


@pytest.fixture(scope="module")
def runs(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("launched")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([*launcher, str(launched.__file__), str(shapes), str(out)], env=environment, check=True)
    train(launched.recipe, open_table(shapes), out / "alone", about={})
    return out


@pytest.mark.parametrize("name", ["replicas", "sharded", "cut"])
def test_two_processes_learn_what_one_learns(runs: Path, name: str):
    alone, together = ([line["loss"] for line in read_log(runs / run)] for run in ("alone", name))
    # float32 sums in another order differ in the last digits, and eight steps of Adam enlarge that a little.
    assert together == pytest.approx(alone, rel=1e-3)
    one, two = (load(runs / run / "model").state_dict() for run in ("alone", name))
    for weights in one:
        torch.testing.assert_close(two[weights], one[weights], rtol=0, atol=5e-3)  # Adam moves each by 3e-3 a step


def test_its_checkpoint_is_whole(runs: Path, shapes: Path):
    alone, together = (evaluate(load(runs / run / "model"), open_table(shapes)).flat() for run in ("alone", "sharded"))
    assert together["t2i_map"] == pytest.approx(alone["t2i_map"], abs=0.05)  # near ties of 72 rows may swap
    assert not (runs / "sharded" / "states").exists()


def test_sharding_wants_several_processes(shapes: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="--shard needs several processes"):
        train(launched.recipe, open_table(shapes), tmp_path / "run", about={}, running=Running(shard=True))


def test_two_processes_embed_what_one_embeds(runs: Path, shapes: Path, tmp_path: Path):
    model, words = str(runs / "alone" / "model"), ["--shard-rows", "20"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = ["diptych", "embed", model, str(shapes), "--out", str(tmp_path / "two"), *words]
    subprocess.run([*launcher, *command], env=environment, check=True)
    assert main(["embed", model, str(shapes), "--out", str(tmp_path / "one"), *words]) == 0
    one, two = (Archive.open(tmp_path / name) for name in ("one", "two"))
    assert (two.rows, two.texts, two.shards) == (72, 144, 4)
    for a, b in zip(one, two, strict=True):
        assert a.rows().equals(b.rows())
        for name in a.names():  # the same rows of each shard; the batches' sizes may differ
            torch.testing.assert_close(a.vectors(name), b.vectors(name), rtol=0, atol=1e-3)
