"""Which rows to train on and which to test on: the splits a table has, or one made from its ids."""

from hashlib import blake2b

import datasets
import pyarrow as pa

from diptych.data.sources.errors import TableError
from diptych.data.sources.selection import keep_rows

_COLUMN = datasets.Features({"split": datasets.Value("string")})


def select_split(table: datasets.Dataset, split: str) -> datasets.Dataset:
    """The rows of one split, in order; of "all", the table itself.

    Raises
    ------
    TableError
        If the table has no such split. The message lists those it has, with their rows.

    Examples
    --------
    >>> table = datasets.Dataset.from_dict({"id": ["a", "b"], "split": ["train", "test"]})
    >>> select_split(table, "test")["id"][:]
    ['b']
    """
    if split == "all":
        return table
    if "split" not in table.column_names:
        raise TableError(f"the table has no splits, so none is called {split!r}; take 'all', or make some by holdout()")
    splits = table["split"][:]
    rows = [row for row, own in enumerate(splits) if own == split]
    if not rows:
        counts = ", ".join(f"{name} ({splits.count(name):,} rows)" for name in dict.fromkeys(splits))
        raise TableError(f"the table has no split {split!r}; it has: {counts}, and 'all'")
    return keep_rows(table, rows)


def holdout(table: datasets.Dataset, fraction: float = 0.1) -> datasets.Dataset:
    """Give a table without splits a column `split`, "train" or "test", by a hash of each row's `id`.

    All rows of one id are on one side, the same on every machine and when the table has grown. The
    share of "test" is near `fraction` for many ids; with two or more ids neither side is empty.

    Parameters
    ----------
    table
        With a column `id`; returned as it is if it has a column `split`.
    fraction
        Share of the ids to hold out, between 0 and 1, neither included.

    Raises
    ------
    ValueError
        If `fraction` is not between 0 and 1.
    TableError
        If all rows have one id, so that nothing can be held out.

    Examples
    --------
    >>> table = datasets.Dataset.from_dict({"id": ["a", "a", "b"]})
    >>> sorted(set(holdout(table)["split"][:]))
    ['test', 'train']
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}; expected a number between 0 and 1, such as 0.1")
    if "split" in table.column_names:
        return table
    ids = table["id"][:]
    place = {own: _place(own) for own in ids}
    if len(place) < 2:
        raise TableError(f"the table has {len(place)} id(s); at least two are needed to hold some out for a test")
    lowest, highest = min(place, key=place.__getitem__), max(place, key=place.__getitem__)
    sides = {own: "test" if at < fraction else "train" for own, at in place.items()}
    sides |= {lowest: "test", highest: "train"}
    column = pa.array([sides[own] for own in ids], pa.string())
    made = datasets.Dataset(pa.Table.from_arrays([column], schema=_COLUMN.arrow_schema))  # pyright: ignore[reportArgumentType]
    return datasets.concatenate_datasets([table, made], axis=1)


def _place(own: str) -> float:
    """Where in 0 ... 1 an id falls."""
    return int.from_bytes(blake2b(own.encode(), digest_size=8).digest(), "big") / 2**64
