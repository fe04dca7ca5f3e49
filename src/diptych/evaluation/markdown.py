"""A report as Markdown, to be read in a terminal or kept with a project; curves and pictures are left to the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from diptych.evaluation.report import Report, Value, shown


def as_markdown(report: Report) -> str:
    """The report's sentences, facts, tables and commands.

    Example:
        >>> print(as_markdown(Report("Two recipes", {"seeds": 3}, summary=["One is better."])))
        # Two recipes
        <BLANKLINE>
        One is better.
        <BLANKLINE>
        - seeds: 3
        <BLANKLINE>
    """
    blocks = [f"# {_plain(report.title)}", *(_plain(sentence) for sentence in report.summary)]
    if report.facts:
        blocks.append("\n".join(f"- {name}: {_plain(shown(value))}" for name, value in report.facts.items()))
    for table in report.tables:
        rule = ["---"] + ["---:"] * (len(table.columns) - 1)
        lines = [_line(table.columns), _line(rule), *(_line(row) for row in table.rows)]
        blocks += [f"## {_plain(table.title)}", "\n".join(lines), *([_plain(table.note)] if table.note else [])]
    if report.next_steps:
        blocks += ["## What to type next", "\n".join(f"    {step}" for step in report.next_steps)]
    return "\n\n".join(blocks) + "\n"


def write_markdown(report: Report, path: str | Path) -> Path:
    """Write it, whole or not at all; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(as_markdown(report), encoding="utf-8")
    os.replace(fresh, path)
    return path


def _line(cells: Sequence[Value]) -> str:
    return f"| {' | '.join(_plain(shown(cell)).replace('|', chr(92) + '|') for cell in cells)} |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")
