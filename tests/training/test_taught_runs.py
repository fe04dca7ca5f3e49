"""Whole runs with a teacher: resumed exactly in the middle of a queue, taught by a checkpoint, taught by a column."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from diptych.core.embedding import Embedding
from diptych.data.pairs import Pairs
from diptych.data.sources import open_table
from diptych.models import Towers
from diptych.models.embed import embed
from diptych.objectives import FeatureDistillation, InfoNCE
from diptych.recipes import find_recipe
from diptych.training.fit import Progress
from diptych.training.interrupt import Interrupted
from diptych.training.journal import read_log
from diptych.training.recipe import Phase, Recipe, Schedule
from diptych.training.run import Listener, Trained, train
from diptych.training.teachers import Stored

SMALL = Towers(image_size=24, width=16, vocab_size=300, max_length=16, widths=(16, 32), depths=(1, 1), text_width=32)


def schedule(epochs: int) -> Schedule:
    return Schedule(epochs=epochs, batch_size=24, lr=3e-3, precision="float32")


def built(name: str, epochs: int, **options) -> Recipe:
    return find_recipe(name).recipe(SMALL, schedule(epochs), **options)


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


@pytest.fixture(scope="module")
def teacher(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """The run of a CLIP, and what it gave."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    return out, train(lambda: built("clip", 12), rows, out, about={"recipe": "clip"})


def vectors(done: Trained, view: str) -> Embedding:
    assert isinstance(done.pairs, Pairs)
    return embed(done.model, view, done.pairs.views[view])


def cosine(a: Embedding, b: Embedding) -> float:
    return float((a.dense * b.dense).sum(1).mean())


def test_a_run_with_queue_and_moving_average_goes_on_exactly(rows: Dataset, tmp_path: Path):
    def recipe() -> Recipe:
        return built("albef_contrast", 3, queue=31, ramp=4)  # neither full at step 1, nor a multiple of the batch

    def interrupt(progress: Progress) -> None:
        if progress.step in (1, 5):
            signal.raise_signal(signal.SIGINT)

    whole = train(recipe, rows, tmp_path / "whole", about={})
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(recipe, rows, tmp_path / "cut", about={}, listener=Listener(steps=interrupt))
    again = train(recipe, rows, tmp_path / "cut", about={})
    losses = [[line["loss"] for line in read_log(tmp_path / run)] for run in ("whole", "cut")]
    assert len(losses[0]) == 9 and losses[0] == losses[1]
    assert again.fingerprint == whole.fingerprint


def test_a_student_of_clip_kd_comes_near_its_teacher(rows: Dataset, tmp_path: Path, teacher: tuple[Path, Trained]):
    out, master = teacher
    taught = train(lambda: built("clip_kd", 12, teacher=out), rows, tmp_path / "run", about={}, seed=1)
    alone = train(lambda: built("clip", 12), rows, tmp_path / "alone", about={}, seed=1)
    for view in ("image", "text"):
        # Two runs that never heard of each other have unrelated axes: a cosine of about 0, give or take 1/sqrt(16).
        assert cosine(vectors(taught, view), vectors(master, view)) > 0.7
        assert abs(cosine(vectors(alone, view), vectors(master, view))) < 0.4
    terms = {
        "infonce/image-text/dot",
        "distillation/image-text/dot",
        "momentum_infonce/image-text/interaction",
        "feature_distillation/image",
        "feature_distillation/text",
    }
    assert terms <= set(read_log(tmp_path / "run")[0])


def test_a_column_of_the_table_can_teach(rows: Dataset, tmp_path: Path, teacher: tuple[Path, Trained]):
    wanted = vectors(teacher[1], "image")
    rows = rows.add_column("clip", [list(map(float, x)) for x in 3 * wanted.dense.numpy()])

    def recipe() -> Recipe:
        model = built("clip", 1).model
        goal = InfoNCE() + 200.0 * FeatureDistillation("image")
        return Recipe(model, [Phase(goal, schedule(12), teacher=Stored({"image": "clip"}))])

    done = train(recipe, rows, tmp_path / "run", about={})
    assert cosine(vectors(done, "image"), wanted) > 0.7
    losses = [line["feature_distillation/image"] for line in read_log(tmp_path / "run")]
    assert np.mean(losses[-3:]) < losses[0] / 2
