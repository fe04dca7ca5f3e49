"""A cross-encoder trains beside its dual encoder and teaches another; several embeddings an image find their texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from diptych.core.scorer import Scorer
from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.retrieval import retrieve
from diptych.models import Towers, load
from diptych.models.embed import embed
from diptych.recipes import find_recipe
from diptych.training.journal import read_log
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import Trained, train

SMALL = Towers(image_size=24, width=16, vocab_size=300, max_length=16, widths=(16, 32), depths=(1, 1), text_width=32)
SCHEDULE = Schedule(epochs=12, batch_size=24, lr=3e-3, precision="float32")
FUSION = {"fusion_width": 16, "fusion_depth": 2, "depth": 5, "sharpness": 0.0}


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


@pytest.fixture(scope="module")
def teacher(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """The run of a cross-encoder on frozen towers."""
    out, towers = tmp_path_factory.mktemp("runs") / "teacher", replace(SMALL, freeze="both")
    return out, train(lambda: find_recipe("albef_matching").recipe(towers, SCHEDULE, **FUSION), rows, out, about={})


def test_a_run_gives_back_the_scorer_and_the_tokens_it_scores(teacher: tuple[Path, Trained]):
    out, done = teacher
    again = load(out / "model")
    assert done.pairs is not None
    for part in ("matching", "cascade"):
        scores = []
        for model in (done.model, again):
            text, image = (embed(model, view, done.pairs.views[view]) for view in ("text", "image"))  # type: ignore[union-attr]
            scorer = model.parts[part]
            assert isinstance(scorer, Scorer) and text.tokens is not None and image.grid == (2, 2)
            with torch.no_grad():
                scores.append(scorer(text[:7], image))
        torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-4)  # float32 logits of order 10


@pytest.mark.parametrize("freeze", ["none", "both"])
def test_dcd_learns_of_it_with_heads_of_its_own(
    rows: Dataset, teacher: tuple[Path, Trained], tmp_path: Path, freeze: str
):
    """On pixels, and on the stored features of towers that it shares with the teacher, which reads their tokens."""
    out, taught = teacher

    def make() -> Recipe:
        towers = replace(SMALL, freeze=freeze)
        built = find_recipe("dcd").recipe(towers, replace(SCHEDULE, epochs=2), teacher=out, others=4, hard=2)
        built.model.towers.load_state_dict(taught.model.towers.state_dict())
        return built

    done = train(make, rows, tmp_path / "run", about={})
    assert set(done.model.parts) == {"dot"} and "tokens" not in done.model.heads["image"]  # type: ignore[operator]
    losses = [line["dynamic_distillation/text-image/dot"] for line in read_log(tmp_path / "run")]
    assert all(loss >= 0 for loss in losses) and any(loss > 0 for loss in losses)


def test_a_teacher_without_the_part_is_refused(teacher: tuple[Path, Trained]):
    with pytest.raises(ValueError, match=r"the teacher has no scorer 'fusion'; it has the parts \['cascade', 'dot'"):
        find_recipe("dcd").recipe(SMALL, teacher=teacher[0], matching="fusion")


def test_several_embeddings_an_image_learn_and_come_back(rows: Dataset, tmp_path: Path):
    done = train(lambda: find_recipe("sorce").recipe(SMALL, SCHEDULE), rows, tmp_path / "run", about={}, seed=1)
    measured = evaluate(done.model, rows, scorer="parts")
    recall = measured.retrieval["text_to_image"]
    assert recall.recall[5] > 3 * recall.chance[5]
    assert measured.image.tokens is not None and measured.image.tokens.shape[1:] == (5, 16)
    assert measured.image.grid is None and measured.text.tokens is None
    again = load(tmp_path / "run" / "model").parts["parts"]
    assert isinstance(again, Scorer)
    keys = torch.from_numpy(measured.pairs.keys.text), torch.from_numpy(measured.pairs.keys.image)
    assert retrieve(measured.text, measured.image, *keys, again).recall == recall.recall
