"""A recipe is found by its file's name, and any field deep inside it can be changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

import diptych.recipes
from diptych.core.model import is_frozen
from diptych.models import Towers
from diptych.recipes import find_recipe, recipe_names
from diptych.recipes.find import recipe_files
from diptych.recipes.override import override
from diptych.scoring import Dot
from diptych.training.recipe import Claim, Paper, Recipe, Schedule

MINE = """
from diptych.models import Towers, dual_encoder
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.recipe import Phase, Recipe, Schedule

def recipe(towers: Towers = Towers(), schedule: Schedule = Schedule(), *, softness: float = 0.25) -> Recipe:
    model = dual_encoder(towers, parts={"dot": Dot()})
    return Recipe(model, phases=[Phase(InfoNCE(label_smoothing=softness), schedule)])
"""


def small() -> Recipe:
    return find_recipe("clip").recipe(Towers(image_size=16, width=8, vocab_size=300), Schedule(epochs=2))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_its_paper_and_claim_and_builds(name: str):
    found = find_recipe(name)
    assert isinstance(found.paper, Paper) and isinstance(found.claim, Claim)
    assert isinstance(found.recipe(Towers(image_size=16, width=8, vocab_size=300)).model, nn.Module)


def test_lit_locks_the_image_tower_whatever_the_default_and_refuses_to_lock_more():
    recipe, towers = find_recipe("lit").recipe, Towers(image_size=16, width=8, vocab_size=300)
    for freeze in ("none", "image"):
        model = recipe(replace(towers, freeze=freeze)).model
        assert is_frozen(model.towers["image"]) and not is_frozen(model.towers["text"])
    for freeze in ("text", "both"):
        with pytest.raises(ValueError, match=f"--freeze is {freeze}"):
            recipe(replace(towers, freeze=freeze))


@pytest.mark.parametrize(
    ("name", "scale", "bias"), [("siglip", 10.0, -10.0), ("lit", 10.0, None), ("align", 1.0, None)]
)
def test_scale_and_bias_start_as_the_papers_say(name: str, scale: float, bias: float | None):
    dot = find_recipe(name).recipe(Towers(image_size=16, width=8, vocab_size=300)).model.parts["dot"]
    assert isinstance(dot, Dot)
    assert float(dot.current_scale().detach()) == pytest.approx(scale, rel=1e-6)  # kept as a logarithm in float32
    assert dot.bias == bias


def test_a_file_dropped_into_a_package_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "contrastive").mkdir()
    (tmp_path / "contrastive" / "dropped.py").write_text(MINE)
    monkeypatch.setattr(diptych.recipes, "__path__", [*diptych.recipes.__path__, str(tmp_path)])
    assert "dropped" in recipe_names()
    built = find_recipe("dropped").recipe(Towers(image_size=16, width=8, vocab_size=300))
    assert built.phases[0].objective.label_smoothing == 0.25


def test_two_files_of_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "clip.py").write_text(MINE)
    monkeypatch.setattr(diptych.recipes, "__path__", [*diptych.recipes.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match="two recipes are named 'clip'"):
        recipe_files()


def test_a_wrong_name_suggests_the_right_one():
    with pytest.raises(ValueError, match="did you mean clip"):
        find_recipe("clpi")
    with pytest.raises(ValueError, match="no recipe file"):
        find_recipe("./nowhere.py")


def test_override_changes_one_field():
    changed = override(
        small(), {"phases.0.schedule.lr": "1e-2", "phases.0.objective.label_smoothing": "0.1", "scorer": "dot"}
    )
    assert changed.phases[0].schedule == Schedule(epochs=2, lr=0.01)
    assert changed.phases[0].objective.label_smoothing == 0.1


def test_override_takes_lists_for_tuples():
    assert override(small(), {"phases.0.trainable": "['heads.*']"}).phases[0].trainable == ("heads.*",)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("phases.1.schedule.lr", "1", "a number below 1"),
        ("phases.0.schedule.rate", "1", "no field 'rate' there; there are epochs"),
        ("phases.0.schedule.epochs", "many", "expected int"),
        ("phases.0.schedule.epochs", "0", "must be at least 1"),
        ("phases.0.objective.label_smoothing", "5.0", "expected 0 <= label_smoothing < 1"),
        ("model.towers", "1", "built already"),
    ],
)
def test_override_says_what_there_is(path: str, value: str, message: str):
    with pytest.raises(ValueError, match=message):
        override(small(), {path: value})
