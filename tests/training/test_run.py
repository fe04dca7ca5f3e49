"""A run learns, resumes exactly, survives being killed, and says what stands in its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import Dataset

from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.models import Towers, load
from diptych.recipes import find_recipe
from diptych.training.fit import Progress
from diptych.training.interrupt import Interrupted
from diptych.training.journal import read_log
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import Listener, RunExists, open_run, train
from diptych.training.running import Running
from diptych.training.state import saved_states

ABOUT = {"recipe": "clip", "data": "shapes"}


def recipe(epochs: int = 3, **changes) -> Recipe:
    towers = Towers(image_size=24, width=16, vocab_size=300, max_length=16, dropout=0.1)
    schedule = Schedule(**{"epochs": epochs, "batch_size": 24, "lr": 3e-3, "precision": "float32", **changes})
    return find_recipe("clip").recipe(towers, schedule)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run)]


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


@pytest.fixture(scope="module")
def unbroken(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    train(recipe, rows, out, about=ABOUT)
    return out


def test_it_learns_shapes_and_colours(rows: Dataset, tmp_path: Path):
    done = train(lambda: recipe(50), rows, tmp_path / "run", about=ABOUT)
    found = evaluate(done.model, rows).retrieval["text_to_image"]
    # 72 pictures of 18 kinds, and captions that name the kind: knowing the kinds gives recall@5 of about 1.
    assert found.recall[5] > 0.8 > 2 * found.chance[5]


@pytest.mark.parametrize("stop_after", [1, 4, 8])
def test_an_interrupted_run_goes_on_exactly(rows: Dataset, tmp_path: Path, unbroken: Path, stop_after: int):
    def interrupt(progress: Progress) -> None:
        if progress.step == stop_after:
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=f"after step {stop_after} of 9"):
        train(recipe, rows, out, about=ABOUT, listener=Listener(steps=interrupt))
    train(recipe, rows, out, about=ABOUT)
    assert losses(out) == losses(unbroken)
    fingerprints = [json.loads((run / "run.json").read_text())["fingerprint"] for run in (out, unbroken)]
    assert fingerprints[0] == fingerprints[1]
    assert not (out / "states").exists()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_run import ABOUT, recipe
from diptych.data.sources import open_table
from diptych.training.run import Listener, train
from diptych.training.running import Running
def tell(progress):
    Path({out!r}, "steps").write_text(str(progress.step))
train(recipe, open_table(Path({data!r})), Path({out!r}), about=ABOUT, running=Running(save_minutes=0), listener=Listener(steps=tell))
"""


def test_a_killed_run_goes_on_exactly(rows: Dataset, shapes: Path, tmp_path: Path, unbroken: Path):
    out = tmp_path / "run"
    script = KILLED.format(tests=str(Path(__file__).parent), out=str(out), data=str(shapes))
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ})
    steps = out / "steps"
    while child.poll() is None and not (steps.exists() and int(steps.read_text() or 0) >= 5):
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert saved_states(out)
    train(recipe, rows, out, about=ABOUT)
    assert losses(out) == losses(unbroken)


def test_a_run_is_not_overwritten_unasked(rows: Dataset, tmp_path: Path, unbroken: Path):
    with pytest.raises(RunExists, match="finished run"):
        train(recipe, rows, unbroken, about=ABOUT)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("keep me")
    with pytest.raises(RunExists, match="is not empty"):
        train(recipe, rows, other, about=ABOUT)
    assert (other / "thesis.txt").exists()


def test_an_unfinished_run_with_other_settings_is_named(rows: Dataset, tmp_path: Path):
    def interrupt(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        train(recipe, rows, tmp_path / "run", about=ABOUT, listener=Listener(steps=interrupt))
    with pytest.raises(RunExists, match="seed: 0 there, 1 now"):
        train(recipe, rows, tmp_path / "run", about=ABOUT, seed=1)
    with pytest.raises(ValueError, match="is not finished"):
        open_run(tmp_path / "run")


def test_micro_batches_and_row_chunks_train_alike(rows: Dataset, tmp_path: Path):
    whole = train(lambda: recipe(1), rows, tmp_path / "whole", about=ABOUT)
    cut = train(lambda: recipe(1, rows=5), rows, tmp_path / "cut", about=ABOUT)
    # float32 sums in another order differ in the last digits, and three steps of Adam enlarge that a little.
    assert [x for _, x in cut.fitted.losses] == pytest.approx([x for _, x in whole.fitted.losses], rel=1e-3)


def test_frozen_towers_do_not_move_and_their_features_are_stored(rows: Dataset, tmp_path: Path):
    def frozen() -> Recipe:
        towers = Towers(image_size=24, width=16, vocab_size=300, max_length=16, freeze="both", hidden=8)
        return find_recipe("clip").recipe(towers, Schedule(epochs=2, batch_size=24, precision="float32"))

    import torch

    torch.manual_seed(0)
    before = frozen().model.towers.state_dict()
    done = train(frozen, rows, tmp_path / "run", about=ABOUT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in done.model.towers.state_dict().items())
    assert set(done.pairs.views["image"].take(done.pairs.keys.owner[:1])) == {"pooled"}
    assert done.fitted.losses[-1][1] < done.fitted.losses[0][1]
    again = evaluate(load(tmp_path / "run" / "model"), rows)
    assert again.flat() == evaluate(done.model, rows).flat()


def test_log_and_note_say_what_was_done(unbroken: Path, rows: Dataset):
    log, run = read_log(unbroken), json.loads((unbroken / "run.json").read_text())
    assert [line["step"] for line in log] == list(range(1, 10))
    assert {"loss", "lr", "gradient_norm", "pairs_per_second", "epoch"} <= set(log[0])
    assert run["status"] == "done" and run["result"]["rows"] == len(rows) and run["recipe"] == "clip"


def test_tensorboard_has_the_same_losses(rows: Dataset, tmp_path: Path, unbroken: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recipe, rows, tmp_path / "run", about=ABOUT, running=Running(tensorboard=True))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses(unbroken), rel=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run(rows: Dataset, tmp_path: Path):
    with pytest.raises(FloatingPointError, match=r"at step \d+: lower --lr"):
        train(lambda: recipe(lr=1e30, grad_clip=1e30), rows, tmp_path / "run", about=ABOUT)


def test_a_phase_trains_only_what_it_names(rows: Dataset, tmp_path: Path):
    import torch

    def heads_only() -> Recipe:
        made = recipe(1)
        made.phases[0].trainable = ("heads.*",)
        return made

    torch.manual_seed(0)
    before = heads_only().model.state_dict()
    model = train(heads_only, rows, tmp_path / "run", about=ABOUT).model
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and all(name.startswith("heads.") for name in moved)
    assert all(parameter.requires_grad for parameter in model.parameters())  # only for that phase
