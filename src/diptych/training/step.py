"""The one training step: plain, in micro-batches, in chunks of rows, over processes; one answer.

1. Encode every view. Plain keeps the towers' graph; micro-batches drop it and keep the random state.
2. Detach the embeddings and gather them over processes: the leaves.
3. Run the objective on chunks of anchor rows against all leaves, each with its backward at once.
4. Sum the leaves' gradients over processes; each process takes its own rows.
5. Run the towers' backward from there; micro-batches are encoded again with their random state.
6. Sum the parameters' gradients over processes.

An objective is a sum over anchor rows, so every cut gives the same loss and gradients.
Steps 1 and 5 are the gradient caching of Gao et al. 2021, arXiv 2101.06983.
Nothing outside this file and `processes.py` knows a rank or a micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding, pad_tokens
from diptych.core.model import Model
from diptych.core.objective import Objective
from diptych.core.pairing import Pairing
from diptych.training.processes import all_most, all_sum, gather_rows, world

Autocast = Callable[[], AbstractContextManager]


@dataclass(frozen=True)
class Stepped:
    """What a step gives: `means`, by term and as `"loss"`; `pairing`, the whole batch, for `Objective.update`."""

    means: dict[str, float]
    pairing: Pairing


@dataclass(frozen=True)
class Piece:
    """A micro-batch of one view: its rows, the random state before it, and its embedding."""

    rows: slice
    random_state: tuple[Tensor, ...]
    embedding: Embedding


def step(
    model: Model,
    objective: Objective,
    batch: Batch,
    *,
    micro: int | None = None,
    rows: int | None = None,
    seed: int = 0,
    autocast: Autocast = nullcontext,
) -> Stepped:
    """Add to `.grad` of every parameter the gradient of the objective's mean.

    Args:
        model: its towers encode, its parts score.
        objective: a sum over anchor rows.
        batch: this process's rows, on the model's device. Processes may hold different numbers of rows.
        micro: rows of a view to encode at a time, twice; None encodes once and keeps the graph.
        rows: anchor rows to run the objective on at a time; None for all at once.
        seed: of this step, for noise keyed by items.
        autocast: a context for the towers' forward, e.g. bf16; objectives run in the embeddings' own precision.

    Returns:
        `means`: term name -> mean over the batch of all processes, and `"loss"`, their weighted sum; `pairing`.

    Raises:
        KeyError: if the objective needs a view that the batch lacks.
    """
    views = sorted(objective.needs.views)
    missing = [view for view in views if view not in batch.inputs]
    if missing:
        raise KeyError(f"the objective needs the views {missing}; the batch has {list(batch.views)}")
    kept = {view: list(_encode(model, batch, view, micro, autocast)) for view in views}
    leaves, pairing, own = _pair(model, batch, kept, seed)
    sizes = {term.name: all_sum(term.size(batch).clone()).clamp(min=1) for _, term in objective.terms()}
    means = _run_objective(objective, pairing, own, batch, sizes, rows)
    for view in views:
        _backward(model, batch, view, kept[view], leaves[view], own[view], micro, autocast)
    _reduce_gradients([*model.parameters(), *objective.parameters()])
    return Stepped(means, pairing)


def _encode(model: Model, batch: Batch, view: str, micro: int | None, autocast: Autocast) -> Iterator[Piece]:
    """Encode one view, cut into micro-batches; always at least one piece, even of no rows."""
    count = batch.size(view)
    size = micro or max(count, 1)
    for start in range(0, max(count, 1), size):
        cut = slice(start, min(start + size, count))
        state = _random_state()
        with torch.set_grad_enabled(micro is None), autocast():
            embedding = model.encode(view, batch.cut(view, cut))
        yield Piece(cut, state, embedding.map(lambda x: x.float() if x.dtype == torch.bfloat16 else x))


def _pair(
    model: Model, batch: Batch, kept: dict[str, list[Piece]], seed: int
) -> tuple[dict[str, dict[str, Tensor]], Pairing, dict[str, slice]]:
    """Gather detached leaves, keys and items of all processes: the pairing of the whole batch."""
    leaves: dict[str, dict[str, Tensor]] = {}
    everything: dict[str, Embedding] = {}
    keys, items, own = {}, {}, {}
    for view, pieces in kept.items():
        local = Embedding.cat([piece.embedding.map(Tensor.detach) for piece in pieces])
        if local.tokens is not None and local.mask is not None:
            longest = all_most(local.tokens.shape[1])
            local = replace(
                local, tokens=pad_tokens(local.tokens, longest), mask=gather_rows(pad_tokens(local.mask, longest))[0]
            )
        leaves[view] = {name: gather_rows(x)[0].requires_grad_() for name, x in local.named().items()}
        everything[view] = local.with_named(leaves[view])
        width = all_most(batch.keys[view].shape[1])
        keys[view] = gather_rows(_pad_keys(batch.keys[view], width))[0]
        items[view], own[view] = gather_rows(batch.items[view])
    pairing = Pairing(everything, own, keys, items, dict(model.parts.items()), seed=seed)
    return leaves, pairing, own


def _run_objective(
    objective: Objective,
    pairing: Pairing,
    own: dict[str, slice],
    batch: Batch,
    sizes: dict[str, Tensor],
    rows: int | None,
) -> dict[str, float]:
    """Forward and backward of every term, chunk by chunk; the means over all processes."""
    totals = {name: torch.zeros((), dtype=torch.float64) for name in sizes}
    for chunk in _chunks(own, rows):
        local = {view: slice(cut.start - own[view].start, cut.stop - own[view].start) for view, cut in chunk.items()}
        inputs = {view: batch.cut(view, cut) for view, cut in local.items()}
        part = replace(pairing, rows=chunk, inputs=inputs)
        for weight, term in objective.terms():
            value = term(part)
            if value.requires_grad:
                (weight * value / sizes[term.name].to(value)).backward()
            totals[term.name] += value.detach().double().cpu()
    means = {name: float(all_sum(total) / sizes[name].cpu()) for name, total in totals.items()}
    return {**means, "loss": sum(weight * means[term.name] for weight, term in objective.terms())}


def _chunks(own: dict[str, slice], rows: int | None) -> Iterator[dict[str, slice]]:
    """Cut every view's own rows into the same number of chunks of at most `rows` rows."""
    counts = {view: cut.stop - cut.start for view, cut in own.items()}
    longest = max(counts.values(), default=0)
    pieces = max(1, -(-longest // rows)) if rows else 1
    for i in range(pieces):
        yield {
            view: slice(cut.start + counts[view] * i // pieces, cut.start + counts[view] * (i + 1) // pieces)
            for view, cut in own.items()
        }


def _backward(
    model: Model,
    batch: Batch,
    view: str,
    pieces: list[Piece],
    leaves: dict[str, Tensor],
    own: slice,
    micro: int | None,
    autocast: Autocast,
) -> None:
    """Push the leaves' gradients through the tower of one view."""
    gradients = {
        name: all_sum(leaf.grad if leaf.grad is not None else torch.zeros_like(leaf))[own]
        for name, leaf in leaves.items()
    }
    after = _random_state()
    for piece in pieces:
        embedding = piece.embedding
        if micro is not None:
            _set_random_state(piece.random_state)
            with autocast():
                embedding = model.encode(view, batch.cut(view, piece.rows))
        outputs, wanted = [], []
        for name, tensor in embedding.named().items():
            if tensor.requires_grad:
                gradient = gradients[name][piece.rows]
                gradient = gradient[:, : tensor.shape[1]] if name == "tokens" else gradient
                outputs.append(tensor)
                wanted.append(gradient.to(tensor.dtype))
        if outputs:
            torch.autograd.backward(outputs, wanted)
    _set_random_state(after)


def _reduce_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum gradients over processes; a process whose rows did not touch a parameter adds zero."""
    if world()[1] == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            all_sum(parameter.grad)


def _pad_keys(keys: Tensor, width: int) -> Tensor:
    """Pad `[N, K]` keys with -1 to `[N, width]`."""
    return torch.nn.functional.pad(keys, (0, width - keys.shape[1]), value=-1)


def _random_state() -> tuple[Tensor, ...]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return tuple(states)


def _set_random_state(states: tuple[Tensor, ...]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])
