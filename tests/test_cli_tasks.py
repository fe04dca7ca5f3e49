"""`diptych evaluate --tasks`: from names of tasks to a table, a JSON and a page, and what is said when one fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from diptych.cli import main
from diptych.evaluation.card import card_names
from diptych.models import Towers, dual_encoder, save
from diptych.scoring import Dot
from diptych.training.run import reference_inputs


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def model(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that has learned nothing."""
    torch.manual_seed(0)
    towers = Towers(image_size=16, width=8, patch=8, widths=(8, 8), depths=(1, 1), text_width=16, text_depth=1)
    made = dual_encoder(towers, parts={"dot": Dot()})
    made.processors["text"].fit(["a red circle", "one square drawn in blue"])
    folder = tmp_path_factory.mktemp("tasks") / "run"
    save(made.eval(), folder / "model", reference=reference_inputs(made))
    return folder


@pytest.fixture(scope="module")
def split(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shapes in it: 54 to learn from, 18 to measure."""
    folder = tmp_path_factory.mktemp("collections") / "shapes"
    shutil.copytree(shapes, folder)
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        line |= {"split": "test" if i % 4 == 0 else "train", "negatives": ["a pink cat", "a grey hat"]}
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_tasks_by_name_and_by_file(model: Path, split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    own = tmp_path / "shapes.yaml"
    own.write_text(
        "what: Shapes by their names.\nprotocol: zero_shot\ndata: {path: shapes, needs: [shape]}\nsplit: all\n"
        "options: {label: shape, templates: ['{}', 'a drawn {}']}\nmetric: accuracy\n"
    )
    names = ["retrieval", "multiple_choice", "zero_shot", "knn"]
    assert run("evaluate", model, split, "--tasks", *names, "--classify", "shape") == 0
    out = capsys.readouterr().out
    assert "95 % interval" in out and "chance" in out and all(name in out for name in names)
    told = json.loads((model / "tasks.json").read_text())
    assert set(told["tasks"]) == set(names) and told["versions"]["diptych"]
    for task in told["tasks"].values():
        assert task["split"] == "test" and len(task["sha256"]["data"]) == 64 and task["value"] is not None
    assert told["tasks"]["knn"]["options"]["label"] == "shape"
    assert told["tasks"]["zero_shot"]["chance"]["accuracy"] == pytest.approx(1 / 3)
    assert len({task["sha256"]["data"] for task in told["tasks"].values()}) == 1
    page = (model / "report.html").read_text()
    assert "retrieval: t2i_recall@1 by words of the text" in page and "data:image/png" in page
    capsys.readouterr()

    assert run("evaluate", model, split.parent, "--tasks", own, "--json", tmp_path / "own.json") == 0
    mine = json.loads((tmp_path / "own.json").read_text())["tasks"]["shapes"]
    assert mine["split"] == "all" and mine["metric"] == "accuracy"
    capsys.readouterr()


def test_a_task_that_fails_is_said_after_the_others_are_written(model: Path, split: Path, tmp_path: Path, capsys):
    words = ["--split", "all", "--classify", "shape", "--json", tmp_path / "t.json", "--report", tmp_path / "r.html"]
    assert run("evaluate", model, split, "--tasks", "knn", "zero_shot", *words) == 2
    assert "task 'knn' failed: this task learns from rows that are not measured" in capsys.readouterr().err
    told = json.loads((tmp_path / "t.json").read_text())["tasks"]
    assert "error" in told["knn"] and told["zero_shot"]["value"] is not None
    assert "knn: this task learns" in (tmp_path / "r.html").read_text()


def test_a_model_of_images_alone_is_measured_on_images(split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args: Any = {"img_size": 32, "depth": 1, "embed_dim": 24, "num_heads": 2}
    vit: Any = timm.create_model("vit_tiny_patch16_224", **args)
    save_for_hf(vit, str(tmp_path / "vit"), model_args=args, safe_serialization=True)
    words = ["--tasks", "knn", "retrieval", "--classify", "shape", "--json", tmp_path / "t.json"]
    assert run("evaluate", f"timm:{tmp_path / 'vit'}", split, *words) == 2
    assert "task 'retrieval' failed: the model has no tower for texts" in capsys.readouterr().err
    told = json.loads((tmp_path / "t.json").read_text())["tasks"]
    assert 0 <= told["knn"]["value"] <= 1 and "error" in told["retrieval"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["SHAPES", "--tasks", "retreival"],
            "no task 'retreival'; did you mean retrieval? There are attribute_insertion, cifar10_zero",
        ),
        (["SHAPES", "--tasks", "none.yaml"], "no card file 'none.yaml'"),
        (
            ["SHAPES", "--tasks", "zero_shot"],
            "task 'zero_shot' needs the column 'label'; the table has image, text",
        ),
        (["SHAPES", "--tasks", "zero_shot", "--classify", "form"], "needs the column 'form'"),
        (["SHAPES", "--tasks", "retrieval", "retrieval"], "names 'retrieval' twice"),
        (["SHAPES", "--tasks", "ucm_zero_shot"], "'ucm_captions' below the folder that you name"),
        (["SHAPES", "--tasks", "retrieval", "--split", "dev"], "no split 'dev'"),
        (["nowhere", "--tasks", "retrieval"], "nowhere"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], message: str, model: Path, split: Path, capsys):
    assert run("evaluate", model, *(str(split) if word == "SHAPES" else word for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_help_names_every_task(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        run("evaluate", "--help")
    text = " ".join(capsys.readouterr().out.split()).replace(" ", "")
    assert all(name in text for name in card_names())
