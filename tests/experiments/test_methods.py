"""The catalogue joined with what is built and measured: every number, file and record is one that there is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import diptych
from diptych.experiments.methods import BESIDE, families, family_of, methods
from diptych.experiments.record import Record, read_records
from diptych.experiments.systems import systems
from diptych.experiments.verdict import interval, verdict
from diptych.experiments.zoo import measured, page
from diptych.recipes import find_recipe, recipe_names

ROOT = Path(__file__).parents[2]
PACKAGE = Path(diptych.__path__[0])
RECORDS = read_records(ROOT / "reproductions")


def record(name: str, system: int | None, said: str = "holds") -> Record:
    arms = {"ours": {"x": [3.0, 3.0]}, "theirs": {"x": [1.0, 2.0]}}
    made = Record(name, system, "more", "small", "none", "x", "ours", "theirs", seeds=[0, 1], arms=arms)
    made.difference, made.interval, made.verdict = 1.5, (-4.8531, 7.8531), said
    return made


def test_the_catalogue_is_whole():
    assert list(systems()) == list(range(1, 386))
    assert all(one.name and one.title and one.part and one.claim for one in systems().values())
    assert len({one.family for one in systems().values()}) == 21
    assert (systems()[75].name, systems()[75].family) == ("FILIP", "dual-encoder-pretraining")


def test_recipes_name_systems_of_their_papers():
    for name in recipe_names():
        paper = find_recipe(name).paper
        if paper and paper.system is not None:
            assert paper.title.casefold() == systems()[paper.system].title.casefold(), name


def test_every_recipe_and_every_file_that_says_so_is_there_once():
    found = methods()
    paths = Counter(path for method in found for path in method.built)
    assert set(paths.values()) == {1}
    assert all((PACKAGE / path).is_file() for path in paths)
    assert {Path(path).stem for path in paths if path.startswith("recipes/")} == set(recipe_names())
    by_number = {method.system.number: method for method in found}
    assert by_number[258].built == ("scoring/inverse_graph.py",)
    assert by_number[179].built == ("recipes/contrastive/albef_contrast.py", "recipes/matching/albef_matching.py")
    assert by_number[1].built == () and by_number[1].states == ("unbuilt",)
    beside = [method.system for method in found if method.system.number is None]
    assert "siglip" in [system.name for system in beside] and {system.family for system in beside} == {BESIDE}


def test_what_was_measured_is_built():
    assert RECORDS
    for method in methods(RECORDS):
        assert method.built or not method.records, method.system.name


@pytest.mark.parametrize("one", RECORDS, ids=lambda one: one.name)
def test_a_records_verdict_is_that_of_its_values(one: Record):
    differences = [a - b for a, b in zip(one.of(one.method), one.of(one.baseline), strict=True)]
    difference, around = interval(differences)
    # Earlier records were made with a t of three decimals.
    width = around[1] - around[0]
    assert one.difference == pytest.approx(difference, abs=1e-12)
    assert one.interval == pytest.approx(around, abs=1e-3 * width + 1e-12)
    assert one.verdict == verdict(around, higher=one.higher, within=one.within)


def test_records_join_by_number_or_by_name():
    given = [record("filip", 75), record("again", 75, "inconclusive"), record("siglip", None), record("own", None)]
    found = {method.system.name: method for method in methods(given)}
    assert [one.name for one in found["FILIP"].records] == ["filip", "again"]
    assert found["FILIP"].states == ("holds", "inconclusive")
    assert found["siglip"].records == (given[2],) and found["siglip"].built == ("recipes/contrastive/siglip.py",)
    assert found["own"].built == () and found["own"].system.claim == "more" and found["own"].states == ("holds",)
    assert found["CLIP"].states == ("unmeasured",)


def test_a_number_that_is_in_no_catalogue_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"the record 'mine' names system 999; the catalogue has 1 to 385"):
        methods([record("mine", 999)])
    (tmp_path / "wrong.py").write_text('"""A scorer.\n\nSystem: 258 (FILIP)\n"""\n')
    monkeypatch.setattr(diptych, "__path__", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"wrong\.py says that it is system 258 \(FILIP\)"):
        methods()


def test_families():
    assert len(families()) == 22 and families()[-1] == BESIDE
    assert family_of(258) == "image-text-matching" and family_of(None) == BESIDE
    with pytest.raises(ValueError, match="names system 0"):
        family_of(0)


def test_the_committed_page_is_what_the_command_writes():
    committed = (ROOT / "docs" / "zoo.md").read_text("utf-8")
    assert committed == page(methods(RECORDS)), "run `diptych methods --markdown docs/zoo.md`"


def test_a_row_of_the_page():
    rows = page(methods([record("filip", 75)])).splitlines()
    (row,) = [row for row in rows if row.startswith("| 75 | FILIP |")]
    assert row.endswith(
        "| [filip](../reproductions/filip.json): x: ours 3 ± 0; theirs 1.5 ± 0.71; "
        "+1.5000 (-4.8531 to +7.8531), 2 seeds | holds |"
    )
    assert "[recipes/contrastive/filip.py](../src/diptych/recipes/contrastive/filip.py)" in row
    numbers = [int(row.split("|")[1]) for row in rows if row.startswith("| ") and row.split("|")[1].strip().isdigit()]
    assert sorted(numbers) == list(range(1, 386))


def test_what_markdown_would_read_as_its_own_is_shown():
    made = record("a|b", None)
    made.claim = "2*x < y|z,\n~3*x"
    (row,) = [row for row in page(methods([made])).splitlines() if row.startswith("|  | a")]
    assert row.startswith(r"|  | a\|b |  |  | 2\*x \< y\|z, \~3\*x | ")


def test_what_less_is_better_of_and_may_be_lost_is_said():
    made = record("mine", 75)
    made.higher, made.within = False, 0.25
    assert measured(made).startswith("x, less is better, may lose 0.25: ours")
