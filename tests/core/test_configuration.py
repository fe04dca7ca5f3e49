"""What describes itself is built again, and nothing else is built."""

import json
import sys
from types import ModuleType

import pytest

from diptych.core import configuration
from diptych.core.configuration import ConfigurationError, build, describe
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import ConvNet, Projection, TextTransformer


@pytest.mark.parametrize(
    "thing",
    [
        ConvNet(1, widths=(8, 16), depths=(1, 0)),
        TextTransformer(50, width=16, depth=1, heads=2, max_length=9, dropout=0.1),
        Projection(16, 8, hidden=4, dropout=0.2),
        ImageProcessor(24, mode="L", resize="pad", interpolation="nearest"),
        TextProcessor(300, max_length=5).fit(["a few words", "more words"]),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_round_trip_through_json(thing):
    written = json.loads(json.dumps(describe(thing)))
    assert describe(build(written)) == written


def test_a_fitted_tokenizer_keeps_its_vocabulary():
    fitted = TextProcessor(300).fit(["dogs run on grass"] * 3)
    again = build(describe(fitted))
    assert (again(["dogs run"])["ids"] == fitted(["dogs run"])["ids"]).all()


def test_a_class_of_another_package_is_not_built(monkeypatch):
    opened = ModuleType("stranger")
    monkeypatch.setitem(sys.modules, "stranger", opened)
    with pytest.raises(ConfigurationError, match="stranger:Thing"):
        build({"class": "stranger:Thing", "arguments": {}})


def test_a_declared_package_may_be_a_single_module(monkeypatch):
    monkeypatch.setattr(configuration, "trusted_packages", lambda: {"diptych", "lodger"})
    lodger = ModuleType("lodger")
    lodger.Thing = type("Thing", (), {"__module__": "lodger"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lodger", lodger)
    assert type(build({"class": "lodger:Thing", "arguments": {}})).__module__ == "lodger"
    with pytest.raises(ConfigurationError):
        build({"class": "lodgers:Thing", "arguments": {}})


@pytest.mark.parametrize("name", ["diptych.core.configuration:importlib", "diptych.data.cache:os", "diptych.nowhere:X"])
def test_what_is_no_class_of_the_package_is_not_built(name):
    with pytest.raises(ConfigurationError):
        build({"class": name, "arguments": {}})


def test_an_argument_not_kept_is_named():
    class Forgetful:
        def __init__(self, size: int) -> None:
            pass

    with pytest.raises(ConfigurationError, match="size"):
        describe(Forgetful(3))
