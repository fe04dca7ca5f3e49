"""Recipes of codes on drawn shapes: found by Hamming distance far above chance, and near old codes of like labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from diptych.core import Batch, Embedding
from diptych.data.pairs import Pairs
from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.retrieval import retrieve
from diptych.models import Towers
from diptych.models.embed import embed
from diptych.models.opened import open_model
from diptych.objectives import AnchoredCodes
from diptych.recipes import find_recipe
from diptych.scoring import Hamming
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import Trained, train
from diptych.training.teachers import OldCodes, save_codes

SMALL = Towers(image_size=24, width=16, vocab_size=300, max_length=16, widths=(16, 32), depths=(1, 1), text_width=32)
LABELS = ["red", "green", "blue", "black", "orange", "purple", "circle", "square", "triangle"]


def built(name: str, *, epochs: int = 20, **options) -> Recipe:
    schedule = Schedule(epochs=epochs, batch_size=24, lr=3e-3, precision="float32")
    return find_recipe(name).recipe(SMALL, schedule, bits=32, **options)


def codes_of(done: Trained, view: str) -> Tensor:
    assert isinstance(done.pairs, Pairs)
    return embed(done.model, view, done.pairs.views[view]).vectors["code"]


@pytest.mark.parametrize("relaxed", [True, False])
def test_texts_find_their_pictures_by_the_bits_that_differ(shapes: Path, tmp_path: Path, relaxed: bool):
    done = train(lambda: built("deep_hashing", relaxed=relaxed), open_table(shapes), tmp_path / "run", about={})
    assert set(codes_of(done, "image").unique().tolist()) == {-1.0, 1.0}
    found = evaluate(done.model, open_table(shapes), scorer="hamming").retrieval["text_to_image"]
    assert found.recall[5] > 0.5 > 2 * found.chance[5]  # ties between codes are counted as lost


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    """With a column of labels: the colour and the shape."""
    table = open_table(shapes)
    return table.add_column("labels", [[float(one in texts[0].split()) for one in LABELS] for texts in table["text"]])


@pytest.fixture(scope="module")
def parts(rows: Dataset) -> tuple[Dataset, Dataset]:
    """Rows of four colours, and those of two others: the shapes are the same."""
    colour = np.array(rows["labels"]).argmax(1)
    return rows.select(np.flatnonzero(colour < 4)), rows.select(np.flatnonzero(colour >= 4))


@pytest.fixture(scope="module")
def first(parts: tuple[Dataset, Dataset], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Tensor]:
    """A run on the old rows, the file of their codes, and those of their images."""
    folder = tmp_path_factory.mktemp("dlch")
    done = train(lambda: built("dlch"), parts[0], folder / "run", about={})
    assert isinstance(done.pairs, Pairs)
    labels = torch.tensor(np.array(parts[0]["labels"]))
    codes = {view: codes_of(done, view) for view in ("image", "text")}
    texts = labels[torch.from_numpy(done.pairs.keys.owner)]
    save_codes(folder / "codes.safetensors", codes, {"image": labels, "text": texts})
    return folder / "run", folder / "codes.safetensors", codes["image"]


def test_new_codes_find_old_ones_of_the_same_shape_where_these_have_taught(
    parts: tuple[Dataset, Dataset], first: tuple[Path, Path, Tensor], tmp_path: Path
):
    run, file, old = first

    def shape(table: Dataset) -> Tensor:
        return torch.tensor(np.array(table["labels"]))[:, 6:].argmax(1)[:, None]

    found = {}
    for name, teacher in (("anchored", file), ("tuned", None)):
        done = train(
            lambda teacher=teacher: built("dlch", epochs=30, teacher=teacher),
            parts[1],
            tmp_path / name,
            about={},
            init=open_model(run),
        )
        new = Embedding({"code": codes_of(done, "image")})
        report = retrieve(new, Embedding({"code": old}), shape(parts[1]), shape(parts[0]), Hamming())
        found[name] = report.map
    # A third of the old rows have the shape, so chance is near 0.35; one run of each, so the bound is well inside.
    assert found["anchored"] > found["tuned"] + 0.05 and found["anchored"] > 0.45


def a_batch(images: int) -> Batch:
    keys = torch.arange(2 * images).view(images, 2)
    return Batch({"image": {"x": torch.zeros(images, 1)}}, {"image": keys}, {"image": torch.arange(images)})


def test_old_codes_are_shown_as_they_were_written(tmp_path: Path):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(5, 16, generator=generator).sign()
    labels = (torch.rand(5, 3, generator=generator) < 0.5).long()
    save_codes(tmp_path / "codes", {"image": codes}, {"image": labels})
    teacher = OldCodes(tmp_path / "codes")
    teacher.begin(built("dlch").model)
    for images in (0, 3):
        said = teacher(a_batch(images), frozenset({"image"}))
        assert said.rows["image"] == slice(0, images) and (said.items["image"][images:] == -1).all()
        assert torch.equal(said.all["image"].vectors["code"][images:], codes)
        assert torch.equal(said.all["image"].vectors["labels"][images:], labels.float())
        assert not said.all["image"].vectors["code"][:images].any()
        assert not said.positives("image", "image")[:, images:].any()  # nothing is known of old rows but their labels
    with pytest.raises(ValueError, match=r"no codes of the views \['text'\]; it has \['image'\]"):
        teacher(a_batch(2), frozenset({"text"}))


def test_old_codes_that_are_not_there_are_refused_with_what_to_do(tmp_path: Path):
    built_on = built("dlch", teacher=tmp_path / "nowhere")
    assert isinstance(built_on.phases[0].teacher, OldCodes)
    with pytest.raises(ValueError, match="write them with `save_codes`"):
        built_on.phases[0].teacher.begin(built_on.model)
    with pytest.raises(ValueError, match="expected the same views, and rows"):
        save_codes(tmp_path / "codes", {"image": torch.ones(3, 8)}, {"image": torch.ones(2, 4)})


def test_only_the_second_step_reads_old_codes(tmp_path: Path):
    objectives = [built("dlch", teacher=teacher).phases[0].objective for teacher in (None, tmp_path)]
    assert not objectives[0].needs.teacher and objectives[1].needs.teacher == {"image", "text"}
    anchored = [term.name for _, term in objectives[1].terms() if isinstance(term, AnchoredCodes)]
    assert anchored == ["anchored_codes/image-image", "anchored_codes/text-text"]
