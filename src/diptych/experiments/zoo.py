"""The zoo: a Markdown page of every method, by family: what it claims, where it is built, what was measured of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from diptych.experiments.methods import STATES, Method, families
from diptych.experiments.record import Record, spread

COLUMNS = ("number", "name", "built", "part", "claim", "measured", "verdict")


def page(methods: Sequence[Method]) -> str:
    """The page; links are from `docs/`."""
    counts = Counter(state for method in methods for state in method.states)
    lines = [
        "# The zoo",
        "",
        "Every system of the catalogue: what its paper claims, which file builds it, what was measured of the claim.",
        "Printed by `diptych methods --markdown docs/zoo.md` from the recipes' `PAPER`, the files' docstrings and",
        "`reproductions/*.json`; do not edit it. What a verdict means, and how a reproduction is written, is in",
        "[reproductions.md](reproductions.md). Figures are means over seeds and standard deviations, then the paired",
        "difference with its 95% interval: of small models on small data, not of the paper's own setting.",
        "",
        "| verdict | methods |",
        "| --- | ---: |",
        *(f"| {state} | {counts[state]} |" for state in STATES),
        "",
    ]
    for family in families():
        of = [method for method in methods if method.system.family == family]
        if of:
            lines += [f"## {family}", "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
            lines += [f"| {' | '.join(_cells(method))} |" for method in of] + [""]
    return "\n".join(lines)


def measured(record: Record) -> str:
    """What was measured, on a line: the figure of both arms, their difference, its interval, how many seeds."""
    sides = [f"{arm} {spread(record.of(arm))}" for arm in (record.method, record.baseline)]
    better = "" if record.higher else ", less is better"
    lost = f", may lose {record.within:g}" if record.within else ""
    return f"{record.figure}{better}{lost}: {sides[0]}; {sides[1]}; {record.apart()}, {len(record.seeds)} seeds"


def _cells(method: Method) -> list[str]:
    system = method.system
    return [
        "" if system.number is None else str(system.number),
        _plain(system.name),
        "<br>".join(f"[{path}](../src/diptych/{path})" for path in method.built),
        _plain(system.part),
        _plain(system.claim),
        "<br>".join(
            f"[{one.name}](../reproductions/{one.name}.json): {_plain(measured(one))}" for one in method.records
        ),
        "; ".join(method.states),
    ]


def _plain(text: str) -> str:
    """Text of which Markdown shows every character."""
    return re.sub(r"([|*<~\\])", r"\\\1", " ".join(text.split()))
