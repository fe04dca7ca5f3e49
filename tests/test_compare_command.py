"""`diptych compare`: from names to a report, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych.cli import main
from diptych.commands.compare import _parser, arm_of, split_options

SIZES = ["--image-size", "24", "--width", "16", "--vocab-size", "300", "--max-length", "16"]
SMALL = [*SIZES, "--batch-size", "24", "--precision", "float32", "--budget", "2 steps", "--seeds", "2"]

MINE = """
from diptych.models import Towers, dual_encoder
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.recipe import Phase, Recipe, Schedule

def recipe(towers: Towers = Towers(), schedule: Schedule = Schedule(), *, softness: float = 0.25) -> Recipe:
    model = dual_encoder(towers, parts={"dot": Dot()})
    return Recipe(model, phases=[Phase(InfoNCE(label_smoothing=softness), schedule)])
"""


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def parsed(*words: str):
    return _parser("photos").parse_args(["clip", "siglip", "--data", "photos", *words])


def test_a_recipe_against_itself_and_one_of_ones_own(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine, out = tmp_path / "mine.py", tmp_path / "out"
    mine.write_text(MINE)
    words = ["compare", "clip", "clip:label-smoothing=0.1", mine, "--data", shapes, "--out", out, *SMALL]
    assert run(*words) == 0
    told = capsys.readouterr()
    assert "6 runs, of which 0 are done already" in told.err and "clip:label-smoothing=0.1" in told.out
    numbers = json.loads((out / "compare.json").read_text())
    assert list(numbers["arms"]) == ["clip", "clip:label-smoothing=0.1", str(mine)]
    smoothing = [numbers["arms"][name]["arguments"].get("label_smoothing") for name in numbers["arms"]]
    assert smoothing == [0.0, 0.1, None] and numbers["arms"][str(mine)]["arguments"]["softness"] == 0.25
    widths = {numbers["arms"][name]["arguments"]["towers"]["width"] for name in numbers["arms"]}
    assert widths == {16}  # flags for all reach all
    assert numbers["arms"]["clip"]["folder"].startswith(str(out))
    assert (out / "report.html").exists() and "diptych compare clip" in (out / "report.md").read_text()
    assert run(*words, "--metric", "i2t_recall@2") == 0
    assert "6 runs, of which 6 are done already" in capsys.readouterr().err


def test_options_are_read():
    assert split_options("clip") == ("clip", {})
    assert split_options("./mine.py:softness=0.3") == ("./mine.py", {"softness": "0.3"})
    whole = split_options("clip:widths=[32,64],phases.0.objective.label_smoothing=0.1,text=hf:x")
    expected = {"widths": "[32,64]", "phases.0.objective.label_smoothing": "0.1", "text": "hf:x"}
    assert whole == ("clip", expected)


def test_an_option_of_one_goes_before_a_flag_for_all():
    args = parsed("--lr", "5e-4", "--width", "16", "--image-size".replace("-s", "_s"), "16", "--vocab_size", "300")
    for word, rate in (("clip", 5e-4), ("clip:lr=1e-2", 1e-2)):
        arm = arm_of(word, args)
        assert arm.make().phases[0].schedule.lr == rate and arm.about["arguments"]["schedule"]["lr"] == rate
        assert arm.name == word
    deep = arm_of("clip:phases.0.objective.label_smoothing=0.2", args).make().phases[0].objective
    assert deep.label_smoothing == 0.2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("clpi", "no recipe 'clpi'; did you mean clip"),
        ("clip:", "no option stands after the colon"),
        ("clip:lr", "'lr' is no option; write clip:NAME=VALUE"),
        ("clip:temprature=0.1", "clip has no option 'temprature'; did you mean temperature"),
        ("clip:epochs=3", "epochs is not an option of one recipe: --budget says"),
        ("clip:seed=3", "seed is not an option of one recipe"),
        ("clip:lr=fast", "clip:lr=fast: "),
        ("clip_kd", "clip_kd needs teacher: write clip_kd:teacher="),
        ("clip_kd:teacher=nowhere,bias=1", "clip_kd has no option 'bias'"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(word: str, message: str):
    with pytest.raises(ValueError, match=message.replace("?", ".")):
        arm_of(word, parsed())


def test_a_flag_for_all_that_one_does_not_take_is_refused(tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(ValueError, match="does not take --bucket, which is meant for all recipes"):
        arm_of(str(tmp_path / "mine.py"), parsed("--bucket", "8"), {"bucket", "lr"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "500"], "--budget '500': steps, pairs, epochs or seconds?"),
        (["--seeds", "1"], "--seeds is 1: one run says nothing of the next"),
        (["--metric", "recall"], "--metric 'recall' cannot be compared"),
        (["--split", "test"], "trained on split 'test' and measured on 'test'"),
        (["--split", "all"], "rows that were trained on say nothing of others"),
        (["--test-split", "unheard"], "no split 'unheard'"),
    ],
)
def test_what_is_wrong_with_a_flag_is_said(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    assert run("compare", "clip", "siglip", "--data", shapes, "--out", tmp_path / "out", *SMALL, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*/seed-*"))


def test_a_table_without_a_test_split_is_refused(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "named"
    folder.mkdir()
    lines = [json.loads(line) for line in (shapes / "metadata.jsonl").read_text().splitlines()[:12]]
    for i, line in enumerate(lines):
        (folder / line["file_name"]).write_bytes((shapes / line["file_name"]).read_bytes())
        line["split"] = "train" if i % 2 else "other"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("compare", "clip", "siglip", "--data", folder, "--out", tmp_path / "out", *SMALL) == 2
    assert "none called a test; say by --test-split which to measure on" in capsys.readouterr().err


def test_one_recipe_is_no_comparison(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("compare", "clip", "--data", shapes, "--out", tmp_path / "out", *SMALL) == 2
    assert "a comparison needs two recipes or more; given: clip" in capsys.readouterr().err


def test_help_says_how(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        run("compare", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    assert "clip:label_smoothing=0.1" in said and "--budget" in said and "--epochs" not in said
