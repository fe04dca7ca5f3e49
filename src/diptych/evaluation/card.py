"""A card says what a task is: its data, how it is measured and what number counts. YAML, one file a task.

    what: Which of the class names an image shows, by its nearest name.
    protocol: zero_shot          # a file of diptych/evaluation/protocols
    data:
      needs: [label]             # columns that the table must have
      path: ucm_captions         # optional: the table lies there, below the DATA that the user names
    split: test                  # optional
    options:                     # of the protocol: prompts, class names, depths
      templates: satellite
    metric: accuracy             # the number that stands for the task
    higher: true                 # whether more is better; default true
    chance: 1 / classes          # optional: a number, or how it is worked out
    published:                   # optional
      - {model: CLIP ViT-B/32, value: 0.6, source: arXiv 0000.00000}

A card's name is its file's. Those of `diptych/evaluation/cards` are known by name, a user's own by its path.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

import diptych.evaluation.cards
import diptych.evaluation.protocols
from diptych.evaluation.measured import Measured


class CardError(ValueError):
    """A card that cannot be used as it stands: the message names the file and the field."""


@dataclass(frozen=True)
class Published:
    """A figure that somebody else measured, and where it is written."""

    model: str
    value: float
    source: str


@dataclass(frozen=True)
class Data:
    """What a task is measured on.

    Attributes:
        needs: columns that the table must have.
        path: where the table lies, below the folder that the user names; None for what the user names itself.
    """

    needs: Sequence[str] = ()
    path: str | None = None


@dataclass(frozen=True)
class Card:
    """A task. The fields are those of the file; see above.

    Attributes:
        name: of the file, without its suffix.
        file: where it was read.
    """

    name: str
    file: Path
    what: str
    protocol: str
    metric: str
    data: Data = field(default_factory=Data)
    split: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    higher: bool = True
    chance: float | str | None = None
    published: Sequence[Published] = ()

    def measure(self) -> Callable[..., Measured]:
        """The protocol's function.

        Raises:
            CardError: if there is no such protocol.
        """
        return find_protocol(self.protocol, self.file)

    def arguments(self) -> dict[str, Any]:
        """The protocol's options as it takes them, defaults filled in.

        Raises:
            CardError: if the protocol has no such option, or it takes no such value.
        """
        return _arguments(self)


def card_files() -> dict[str, Path]:
    """Name -> file of every card that comes with Diptych."""
    folders = diptych.evaluation.cards.__path__
    return {file.stem: file for folder in folders for file in sorted(Path(folder).glob("*.yaml"))}


def card_names() -> list[str]:
    """The names of all cards that come with Diptych."""
    return sorted(card_files())


def card_sentences() -> dict[str, str]:
    """Name -> what it is, of every card that comes with Diptych."""
    return {name: str(yaml.safe_load(file.read_text("utf-8"))["what"]) for name, file in sorted(card_files().items())}


def protocol_names() -> list[str]:
    """The names of all protocols."""
    folders = diptych.evaluation.protocols.__path__
    return sorted({file.stem for folder in folders for file in Path(folder).glob("*.py") if file.stem[0] != "_"})


def find_card(name: str) -> Card:
    """A card by its name, or by the path of a user's own YAML file, read and checked.

    Raises:
        CardError: if there is none (the message lists those that there are), or it is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        file = Path(name)
        if not file.is_file():
            raise CardError(f"no card file {name!r}")
        return read_card(file)
    files = card_files()
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise CardError(
            f"no task {name!r}{meant} There are {', '.join(sorted(files))}. A card of your own ends in .yaml"
        )
    return read_card(files[name])


def read_card(file: Path) -> Card:
    """Read a card and check all of it, the protocol's options too.

    Raises:
        CardError: names the file and the field.
    """
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CardError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise CardError(f"{file} holds {type(found).__name__}, not fields such as 'what' and 'protocol'")
    known = {one.name: one for one in fields(Card)[2:]}
    _check_fields(file, "", found, known, ("what", "protocol", "metric"))
    given: dict[str, Any] = dict(found)
    for name in ("what", "protocol", "metric", "split"):
        if name in given and not isinstance(given[name], str):
            raise CardError(f"{file}: field {name!r} is {given[name]!r}, not text")
    if not isinstance(given.get("higher", True), bool):
        raise CardError(f"{file}: field 'higher' is {given['higher']!r}, not true or false")
    if not isinstance(given.get("chance"), int | float | str | None):
        raise CardError(f"{file}: field 'chance' is {given['chance']!r}, not a number or a formula in words")
    if not isinstance(given.get("options", {}), dict):
        raise CardError(f"{file}: field 'options' is {given['options']!r}, not options by name")
    given["data"] = _data(file, given.get("data", {}))
    given["published"] = [_published(file, i, one) for i, one in enumerate(given.get("published") or [])]
    card = Card(file.stem, file, **given)
    card.arguments()
    return card


def find_protocol(name: str, asked_by: Path) -> Callable[..., Measured]:
    """The function `measure` of a protocol.

    Args:
        name: of its file.
        asked_by: the card, for the message.

    Raises:
        CardError: if there is no such protocol.
    """
    names = protocol_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise CardError(f"{asked_by}: field 'protocol' is {name!r}{meant} There are {', '.join(names)}")
    return importlib.import_module(f"{diptych.evaluation.protocols.__name__}.{name}").measure


def _arguments(card: Card) -> dict[str, Any]:
    measure = card.measure()
    own = list(inspect.signature(measure).parameters)[1:]
    unknown = [name for name in card.options if name not in own]
    if unknown:
        raise CardError(
            f"{card.file}: field 'options.{unknown[0]}' is no option of protocol {card.protocol!r}; it has "
            f"{', '.join(own) or 'none'}"
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(measure, skip={1})
    try:
        parsed = parser.parse_object(dict(card.options), defaults=True)
    except (ArgumentError, TypeError, ValueError) as error:
        raise CardError(f"{card.file}: field 'options': {error}") from error
    return {name: parsed[name] for name in own}


def _data(file: Path, given: Any) -> Data:
    if not isinstance(given, dict):
        raise CardError(f"{file}: field 'data' is {given!r}, not 'needs' and 'path'")
    _check_fields(file, "data.", given, {"needs": None, "path": None}, ())
    needs, path = given.get("needs", []), given.get("path")
    if not isinstance(needs, list) or not all(isinstance(one, str) for one in needs):
        raise CardError(f"{file}: field 'data.needs' is {needs!r}, not a list of columns")
    if path is not None and not isinstance(path, str):
        raise CardError(f"{file}: field 'data.path' is {path!r}, not text")
    return Data(tuple(needs), path)


def _published(file: Path, place: int, given: Any) -> Published:
    where = f"published[{place}]."
    if not isinstance(given, dict):
        raise CardError(f"{file}: field {where[:-1]!r} is {given!r}, not model, value and source")
    names = {one.name: None for one in fields(Published)}
    _check_fields(file, where, given, names, tuple(names))
    if not isinstance(given["value"], int | float):
        raise CardError(f"{file}: field '{where}value' is {given['value']!r}, not a number")
    return Published(str(given["model"]), float(given["value"]), str(given["source"]))


def _check_fields(
    file: Path, where: str, given: Mapping[Any, Any], known: Mapping[str, Any], required: Sequence[str]
) -> None:
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise CardError(f"{file}: there is no field {where + unknown[0]!r}; the fields are {', '.join(known)}")
    missing = [name for name in required if not given.get(name) and given.get(name) != 0]
    if missing:
        raise CardError(
            f"{file}: field {where + missing[0]!r} is missing; see diptych/evaluation/card.py for all fields"
        )
