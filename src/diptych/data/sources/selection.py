"""Some rows of a table, so that columns can still be added to them cheaply."""

from collections.abc import Sequence
from itertools import groupby

import datasets

_MOST_SLICES = 64  # every slice makes later reads slower


def keep_rows(table: datasets.Dataset, rows: Sequence[int]) -> datasets.Dataset:
    """The given rows of `table`, by slices of what lies on disk where that is feasible.

    `Dataset.select` keeps a list of indices, and every column added over it copies the whole table
    first, images and all. A table without files is small (its images are paths) and is copied here.

    Parameters
    ----------
    table
        Any.
    rows
        Row numbers in ascending order, each once.
    """
    if len(rows) == len(table):
        return table
    if not table.cache_files:
        taken = table.with_format("arrow").select(rows)[:]
        return datasets.Dataset(taken, info=datasets.DatasetInfo(features=table.features))  # pyright: ignore[reportArgumentType]
    runs = [[row for _, row in run] for _, run in groupby(enumerate(rows), lambda pair: pair[1] - pair[0])]
    if not runs or len(runs) > _MOST_SLICES:
        return table.select(rows)
    return datasets.concatenate_datasets([table.select(range(run[0], run[-1] + 1)) for run in runs])
