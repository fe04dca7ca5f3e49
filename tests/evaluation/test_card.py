"""Cards are checked whole when they are read; what is wrong is named by file and field."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import diptych.evaluation.protocols
from diptych.evaluation.bench import Bench
from diptych.evaluation.card import (
    CardError,
    card_names,
    card_sentences,
    find_card,
    find_protocol,
    protocol_names,
)
from diptych.evaluation.prompts import class_sets, template_sets

GOOD = """
what: Shapes by their names.
protocol: zero_shot
data: {needs: [shape]}
options: {label: shape, templates: ["{}", "a drawn {}"]}
metric: accuracy
"""


@pytest.mark.parametrize("name", card_names())
def test_every_card_that_comes_along_is_whole(name: str):
    card = find_card(name)
    assert card.name == name and card.what.endswith(".") and card_sentences()[name] == card.what
    assert card.arguments() is not None and card.measure().__module__.endswith(card.protocol)
    assert all(one.source and one.model for one in card.published)
    for option, sets in (("templates", template_sets()), ("classes", class_sets())):
        given = card.options.get(option)
        assert not isinstance(given, str) or "." in given or given in sets


@pytest.mark.parametrize("name", protocol_names())
def test_every_protocol_says_what_it_is_and_a_card_uses_it(name: str):
    measure = find_protocol(name, Path("here"))
    assert (measure.__doc__ or "").strip()
    assert name in {find_card(one).protocol for one in card_names()}


def test_a_card_of_ones_own(tmp_path: Path):
    (tmp_path / "shapes.yaml").write_text(GOOD)
    card = find_card(str(tmp_path / "shapes.yaml"))
    assert card.name == "shapes" and card.data.needs == ("shape",) and card.higher and card.split is None
    assert card.arguments() == {"label": "shape", "templates": ["{}", "a drawn {}"], "classes": None}


def test_a_protocol_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "counting.py").write_text(
        "from diptych.evaluation.measured import Measured\n"
        "def measure(bench, *, times: int = 1):\n    return Measured({'rows': float(times * len(bench))})\n"
    )
    paths = [*diptych.evaluation.protocols.__path__, str(tmp_path)]
    monkeypatch.setattr(diptych.evaluation.protocols, "__path__", paths)
    (tmp_path / "mine.yaml").write_text("what: Rows.\nprotocol: counting\nmetric: rows\noptions: {times: 2}\n")
    card = find_card(str(tmp_path / "mine.yaml"))
    from colours import colour_model, colour_table

    bench = Bench(colour_model(), colour_table(["red", "blue"]))
    assert card.measure()(bench, **card.arguments()).numbers == {"rows": 4.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("protocol: zero_shot", "protocol: zero_shoot"), "field 'protocol' is 'zero_shoot'; did you mean zero_shot"),
        (("protocol: zero_shot", ""), "field 'protocol' is missing"),
        (("metric: accuracy", "metrik: accuracy"), "no field 'metrik'; the fields are what, protocol"),
        (("metric: accuracy", "metric: 3"), "field 'metric' is 3, not text"),
        (("{needs: [shape]}", "{need: [shape]}"), "no field 'data.need'; the fields are needs, path"),
        (("{needs: [shape]}", "{needs: shape}"), "field 'data.needs' is 'shape', not a list"),
        (("{needs: [shape]}", "shapes"), "field 'data' is 'shapes'"),
        (("{needs: [shape]}", "{path: 3}"), "field 'data.path' is 3"),
        (("label: shape", "lable: shape"), "'options.lable' is no option of protocol 'zero_shot'; it has label"),
        (("label: shape", "label: [a]"), "field 'options'.*label"),
        (("what:", "higher: perhaps\nwhat:"), "field 'higher' is 'perhaps'"),
        (("what:", "chance: [1]\nwhat:"), r"field 'chance' is \[1\]"),
        (("what:", "published: [{model: a, value: b, source: c}]\nwhat:"), r"'published\[0\].value' is 'b'"),
        (("what:", "published: [{model: a, value: 1}]\nwhat:"), r"'published\[0\].source' is missing"),
        (("what:", "published: [a]\nwhat:"), r"'published\[0\]' is 'a'"),
        (("what:", "options: 3\nwhat_:"), "no field 'what_'"),
        (("metric: accuracy", "metric: [accuracy"), "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_card_is_said(change: tuple[str, str], message: str, tmp_path: Path):
    file = tmp_path / "wrong.yaml"
    file.write_text(GOOD.replace(*change))
    with pytest.raises(CardError, match=message) as error:
        find_card(str(file))
    assert str(file) in str(error.value)


def test_what_is_no_card_is_said(tmp_path: Path):
    with pytest.raises(CardError, match="no task 'retreival'; did you mean retrieval"):
        find_card("retreival")
    with pytest.raises(CardError, match=r"no card file 'none\.yaml'"):
        find_card("none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(CardError, match="holds list, not fields"):
        find_card(str(tmp_path / "list.yaml"))


def test_the_page_shows_a_card_that_holds_and_names_every_protocol_and_set(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    block = re.search(r"## A card in eight lines\n\n((?:    .+\n)+)", page)
    assert block is not None and block[1].count("\n") == 8
    (tmp_path / "seasons.yaml").write_text(textwrap.dedent(block[1]))
    assert find_card(str(tmp_path / "seasons.yaml")).data.needs == ("season",)
    own = {"retrieval", "zero_shot", "multiple_choice", "linear_probe", "knn", "few_shot", "out_of_distribution"}
    for name in [*own, "multilingual", *template_sets(), *class_sets()]:
        assert f"`{name}`" in page
