"""Where a model does well and where it does not: a measure told apart by label, how common it is, and text length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diptych.evaluation.bench import Bench
from diptych.evaluation.evaluate import labels_of
from diptych.evaluation.intervals import intervals
from diptych.evaluation.measured import Of

PARTS = 4
"""Of a slicing by size: as many queries in each as equal values allow."""
MOST_LABELS = 12
"""Lines of a slicing by label; of more labels the worst and the best are shown."""


@dataclass(frozen=True)
class Slice:
    """Some of the queries: which, how many have a value, its mean and the 95 % interval of that."""

    name: str
    queries: int
    value: float
    low: float
    high: float


def slices_of(bench: Bench, values: Tensor, of: Of, *, label: str = "label") -> dict[str, list[Slice]]:
    """A measure by slices.

    Args:
        bench: whose rows or texts the values are of.
        values: `[Q]`, NaN where there is none.
        of: whose they are; see `diptych.evaluation.measured.Measured`.
        label: the column of labels, if the table has it.

    Returns:
        Slicing -> its slices: "label", "frequency of the label" (rows of the table that have it) and, of texts,
        "words of the text"; only those that part the queries.
    """
    owner = bench.pairs.keys.owner if of == "text" else np.arange(len(bench))
    by: dict[str, list[str | None]] = {}
    if label in bench.table.column_names:
        labels = labels_of(bench.table, label)
        own = [labels[row] for row in owner]
        frequency = Counter(one for one in labels if one is not None)
        by["label"] = own
        by["frequency of the label"] = parts([None if one is None else frequency[one] for one in own])
    if of == "text":
        by["words of the text"] = parts([len(text.split()) for text in bench.captions])
    sliced = {name: _measured(values, groups, owner) for name, groups in by.items()}
    return {name: _fewer(rows) if name == "label" else rows for name, rows in sliced.items() if len(rows) > 1}


def parts(sizes: Sequence[int | None], count: int = PARTS) -> list[str | None]:
    """The part that each size falls into, as "3 to 5"; equal sizes are in one part, None in none.

    Example:
        >>> parts([1, 1, 2, 9, None], count=2)
        ['1', '1', '2 to 9', '2 to 9', None]
    """
    known = np.array([size for size in sizes if size is not None])
    if not len(known):
        return [None] * len(sizes)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)[1:-1], method="lower"))
    place = np.searchsorted(edges, known)  # those equal to an edge are below it
    names = {}
    for part in np.unique(place):
        low, high = int(known[place == part].min()), int(known[place == part].max())
        names[part] = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    told = iter(place)
    return [None if size is None else names[next(told)] for size in sizes]


def _measured(values: Tensor, groups: Sequence[str | None], owner: np.ndarray) -> list[Slice]:
    found = []
    known = ~values.isnan().numpy()
    for name in dict.fromkeys(one for one in sorted(groups, key=_order) if one is not None):
        rows = np.flatnonzero(np.array([one == name for one in groups]) & known)
        if len(rows):
            mine = values[rows]
            clusters = np.unique(owner[rows], return_inverse=True)[1]
            low, high = intervals({"value": mine}, clusters)["value"]
            found.append(Slice(name, len(rows), float(mine.mean()), low, high))
    return found


def _order(name: str | None) -> tuple[int, int, str]:
    """Parts by their lowest size, other names by the alphabet."""
    first = (name or "").split(" ")[0].replace(",", "")
    return (0, int(first), "") if first.isdigit() else (1, 0, name or "")


def _fewer(rows: list[Slice]) -> list[Slice]:
    """The worst and the best of many labels, worst first."""
    ordered = sorted(rows, key=lambda one: (one.value, one.name))
    if len(ordered) <= MOST_LABELS:
        return ordered
    half = MOST_LABELS // 2
    return [*ordered[:half], *ordered[-half:]]
