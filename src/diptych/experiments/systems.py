"""The catalogue of systems: published ways of aligning images with language, each with a number, and what it claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class System:
    """One published system.

    Attributes:
        number: by which `Paper.system` and `Reproduction.system` name it; None for what is not in the catalogue.
        name: short, as the paper has it.
        title: of the paper.
        family: what kind of system it is: one of some twenty.
        part: what of it would be built here: an objective, a scorer, a sampler ...
        claim: what the paper says gets better, against what, in our words.
    """

    number: int | None
    name: str
    title: str
    family: str
    part: str
    claim: str


@cache
def systems() -> Mapping[int, System]:
    """All systems by number."""
    lines = (files("diptych.experiments") / "systems.jsonl").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line) for line in lines]
    return {one["number"]: System(**one) for one in said}
