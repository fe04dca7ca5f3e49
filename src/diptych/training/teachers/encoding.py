"""What teachers share: what a model says of a batch, and an order of rows that no split of a batch changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.core.pairing import Pairing, first_of

ROWS = 256
"""Rows that are encoded, or scored, at a time: no graph is kept, so that more would only take memory."""


def encode_views(model: Model, batch: Batch, sources: Mapping[str, str]) -> Pairing:
    """What a model says of a batch, in eval mode and without gradient.

    Args:
        model: is left in eval mode.
        batch: the rows; there may be none.
        sources: view to answer for -> view of the batch to read.

    Raises:
        KeyError: if the batch lacks a view.
    """
    wanted = model.order(set(sources.values()))
    missing = sorted(set(wanted) - set(batch.inputs))
    if missing:
        raise KeyError(f"the teacher reads the views {missing}; the batch has {list(batch.views)}")
    model.eval()
    encoded: dict[str, Embedding] = {}
    with torch.no_grad():
        for view in wanted:
            encoded[view] = _encode(model, batch, view, encoded)
    return Pairing(
        {view: encoded[source] for view, source in sources.items()},
        {view: slice(0, batch.size(source)) for view, source in sources.items()},
        {view: batch.keys[source] for view, source in sources.items()},
        {view: batch.items[source] for view, source in sources.items()},
        dict(model.parts.items()),
    )


def content_order(items: Tensor, keys: Tensor) -> Tensor:
    """An order of rows by what they are, whatever order they come in: by item, then by keys.

    Args:
        items: `[N]` int64.
        keys: `[N, K]` int64.

    Returns:
        `[N]` int64 row numbers. Rows of one item and the same keys are alike and keep their order.
    """
    order = torch.arange(len(items), device=items.device)
    for column in [*keys.unbind(1)[::-1], items]:
        order = order[torch.argsort(column[order], stable=True)]
    return order


def _encode(model: Model, batch: Batch, view: str, encoded: Mapping[str, Embedding]) -> Embedding:
    """One view, a few rows at a time; those that it reads are encoded already."""
    reads = {other: _partners(batch, view, other) for other in model.route(view).reads}
    parts = []
    for start in range(0, max(batch.size(view), 1), ROWS):
        rows = slice(start, start + ROWS)
        given = {other: encoded[other][partners[rows]] for other, partners in reads.items()}
        parts.append(model.encode(view, batch.cut(view, rows), given).map(_full_precision))
    return Embedding.cat(parts)


def _partners(batch: Batch, view: str, other: str) -> Tensor:
    """The row of `other` that each row of `view` reads, as the step has it for the student."""
    mine, every = batch.items[view], batch.items[other]
    return torch.arange(len(mine), device=mine.device) if torch.equal(mine, every) else first_of(mine, every)


def _full_precision(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
