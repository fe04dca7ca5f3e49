"""Pick the right text of an image among wrong ones that differ from it in little.

An item is an image, a right text and one or more wrong ones; it is won if the right text fits the image better than
every wrong one (a tie is lost). Items are in a column of the table, or in a file of JSON lines beside it, in the form
of SugarCrepe:

    {"id": "coco-285", "caption": "a bear on grass", "negative_caption": "a bear under grass", "type": "replace_rel"}

Source: Hsieh et al. 2023, SugarCrepe, arXiv 2306.14610. There the score of a kind of change is the share of items won,
as here; `accuracy` is that of all items, `mean_of_types` the mean over the kinds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Found, Measured, Shown

SHOWN = 6
"""Items of each kind."""


@dataclass(frozen=True)
class Item:
    """A question: the row of its image, the right text, the wrong ones, and which kind of change they are."""

    row: int
    right: str
    wrong: Sequence[str]
    kind: str


def measure(
    bench: Bench,
    *,
    column: str = "negatives",
    right: str | None = None,
    items: str | None = None,
    kind: str = "type",
) -> Measured:
    """The share of items won, of each kind and of all.

    Args:
        bench: a table with a column of wrong texts, or with a file of items beside it.
        column: of wrong texts, one or a list; rows without any are left out.
        right: the column of the right text; None for the first of the row's texts.
        items: a file of JSON lines beside the table, instead of the column: `id` of the image's row, `caption`,
            `negative_caption` (one or a list).
        kind: the column, or the field of the file, that says which kind of change it is, if there is one.

    Raises:
        ValueError: if there is neither, a line of the file has not those fields, or no item has its image here.
    """
    notes: list[str] = []
    asked = _of_file(bench, items, kind, notes) if items else _of_table(bench, column, right, kind, notes)
    texts = [text for item in asked for text in (item.right, *item.wrong)]
    owner = torch.tensor([i for i, item in enumerate(asked) for _ in range(1 + len(item.wrong))])
    rows = torch.tensor([item.row for item in asked])
    with torch.inference_mode():
        scores = bench.scorer.pairs(bench.image[rows[owner]], bench.texts(texts)).double()
    first = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(owner).cumsum(0)[:-1]])
    best_wrong = torch.full((len(asked),), -torch.inf, dtype=torch.float64)
    is_wrong = torch.ones(len(texts), dtype=torch.bool)
    is_wrong[first] = False
    best_wrong.scatter_reduce_(0, owner[is_wrong], scores[is_wrong], "amax")
    margin = scores[first] - best_wrong
    won = (margin > 0).double()
    guess = torch.tensor([1 / (1 + len(item.wrong)) for item in asked], dtype=torch.float64)
    numbers, chance, values = {"accuracy": won.mean().item()}, {"accuracy": guess.mean().item()}, {"accuracy": won}
    kinds = sorted({item.kind for item in asked if item.kind})
    for one in kinds:
        mine = torch.tensor([item.kind == one for item in asked])
        name = f"accuracy_{one}"
        numbers[name], chance[name] = won[mine].mean().item(), guess[mine].mean().item()
        values[name] = won.masked_fill(~mine, torch.nan)
    if len(kinds) > 1:
        numbers["mean_of_types"] = sum(numbers[f"accuracy_{one}"] for one in kinds) / len(kinds)
        chance["mean_of_types"] = sum(chance[f"accuracy_{one}"] for one in kinds) / len(kinds)
    order = margin.argsort(stable=True).tolist()
    chosen = [i for i in order if not won[i]][:SHOWN] + [i for i in reversed(order) if won[i]][:SHOWN]
    shown = [_example(asked[i], scores[owner == i].tolist()) for i in chosen]
    return Measured(numbers, chance, values, shown=shown, notes=[f"{len(asked):,} items", *notes])


def _of_table(bench: Bench, column: str, right: str | None, kind: str, notes: list[str]) -> list[Item]:
    wrong = bench.column(column)
    texts = [row[0] if row else None for row in bench.table["text"][:]] if right is None else bench.column(right)
    kinds = bench.column(kind) if kind in bench.table.column_names else [None] * len(bench)
    found = [
        Item(row, str(own), _texts(mine), str(named or ""))
        for row, (own, mine, named) in enumerate(zip(texts, wrong, kinds, strict=True))
        if own and _texts(mine)
    ]
    if not found:
        raise ValueError(f"no row has both a text and wrong texts in column {column!r}")
    if len(found) < len(bench):
        notes.append(f"{len(bench) - len(found):,} images without a right or a wrong text are left out")
    return found


def _of_file(bench: Bench, name: str, kind: str, notes: list[str]) -> list[Item]:
    file = bench.file(name)
    rows = {own: row for row, own in enumerate(bench.table["id"][:])}
    found, lost = [], 0
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said: dict[str, Any] = json.loads(line)
            own, right, wrong = str(said["id"]), str(said["caption"]), _texts(said["negative_caption"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file}, line {number}: expected id, caption and negative_caption ({error!r})") from error
        if own not in rows or not wrong:
            lost += 1
            continue
        found.append(Item(rows[own], right, wrong, str(said.get(kind) or "")))
    if not found:
        raise ValueError(f"none of the {lost:,} items of {file} has its image among the {len(bench):,} rows measured")
    if lost:
        notes.append(f"{lost:,} items of {file.name} have no image among the rows measured, or no wrong text")
    return found


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [one for one in ([value] if isinstance(value, str) else value) if one and one.strip()]


def _example(item: Item, scores: list[float]) -> Shown:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    texts = [item.right, *item.wrong]
    rank = sum(score >= scores[0] for score in scores)
    return Shown([Found(scores[i], i == 0, text=texts[i]) for i in order], item.kind or None, item.row, rank)
