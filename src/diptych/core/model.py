"""A model: towers with heads, and the named parts that objectives and scorers ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from diptych.core.embedding import Embedding, Features


@dataclass(frozen=True)
class Route:
    """How a view is encoded.

    Attributes:
        tower: by which tower.
        reads: views whose embeddings the tower is given beside the view's own inputs: a query made of an image and
            words, a text grounded in its image. Row by row where both views have the same items in the same order,
            else each row that of its own item (the first, where there are several).
    """

    tower: str
    reads: tuple[str, ...] = ()


@runtime_checkable
class Processor(Protocol):
    """Turns raw values of one modality into an encoder's inputs. Deterministic; describes itself.

    `column` names the table's column it reads. `fit` learns what it needs of the training values
    (a vocabulary); a fitted processor keeps what it learned among its constructor's arguments.
    """

    column: str

    def fit(self, values: Sequence[Any]) -> Processor: ...
    def __call__(self, values: Sequence[Any]) -> dict[str, Tensor]: ...


class Model(nn.Module):
    """Towers by modality, heads by tower and space, parts by name.

    Args:
        towers: name -> `Encoder`.
        heads: tower -> space -> module that maps `Features` to `[N, D]` (space `"tokens"`: `[N, T, D]`).
        parts: name -> any module an objective or scorer asks for (`"dot"`, `"fusion"` ...).
        processors: tower -> `Processor`, which makes the tower's inputs of raw values.
        routes: view -> `Route`, where the view's prefix before "@" is not the name of its tower.

    Example:
        `model.encode("image@strong", {"pixels": ...})` runs the tower and the heads named "image".
    """

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        heads: Mapping[str, Mapping[str, nn.Module]],
        parts: Mapping[str, nn.Module],
        processors: Mapping[str, Processor],
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(dict(towers))
        self.heads = nn.ModuleDict({tower: nn.ModuleDict(dict(spaces)) for tower, spaces in heads.items()})
        self.parts = nn.ModuleDict(dict(parts))
        self.processors = dict(processors)
        self.routes = dict(routes or {})

    def route(self, view: str) -> Route:
        """Where a view goes.

        Raises:
            KeyError: if no tower takes it; the message lists the towers.
        """
        route = self.routes.get(view) or Route(view.split("@")[0])
        if route.tower not in self.towers:
            raise KeyError(f"no tower for view {view!r}; this model has towers {sorted(self.towers)}")
        return route

    def order(self, views: Collection[str]) -> list[str]:
        """These views and all that they read, each after what it reads.

        Raises:
            KeyError: if a view has no tower.
            ValueError: if views read each other in a circle.
        """
        graph = TopologicalSorter({view: set() for view in sorted(views)})
        waiting = sorted(views)
        seen = set(waiting)
        for view in waiting:
            reads = self.route(view).reads
            graph.add(view, *reads)
            waiting += [read for read in reads if read not in seen]
            seen.update(reads)
        try:
            return list(graph.static_order())
        except CycleError as error:
            raise ValueError(f"views read each other in a circle: {' -> '.join(error.args[1])}") from error

    def features(
        self, view: str, inputs: Mapping[str, Tensor], given: Mapping[str, Embedding] | None = None
    ) -> Features:
        """What the view's tower says of `inputs`, each led by N rows; features given ready pass through."""
        if "pooled" in inputs:
            grid = tuple(inputs["grid"][0].tolist()) if "grid" in inputs and len(inputs["grid"]) else None
            return Features(inputs["pooled"].float(), inputs.get("tokens"), inputs.get("mask"), grid)
        route = self.route(view)
        tower = self.towers[route.tower]
        return tower(inputs, given) if route.reads else tower(inputs)

    def encode(
        self, view: str, inputs: Mapping[str, Tensor], given: Mapping[str, Embedding] | None = None
    ) -> Embedding:
        """Encode N rows of a view: tower, then every head of the tower.

        No rows at all give an embedding of no rows, with gradients of zero: a row of zeros is encoded and cut away.

        Args:
            view: e.g. `"text"` or `"image@strong"`.
            inputs: name -> tensor led by N rows, as the tower's processor makes them.
            given: for a view whose route reads others: view -> their embeddings, row by row.

        Returns:
            Vectors `[N, D]` of every space that has a head; tokens `[N, T, D']` where a head is named `"tokens"`.

        Raises:
            KeyError: if no tower takes the view.
        """
        rows = [len(x) for x in [*inputs.values(), *(given or {}).values()]]
        if rows and not any(rows):
            blank = {name: _blank(x) for name, x in inputs.items()}
            return self.encode(view, blank, {other: _blank_embedding(e) for other, e in (given or {}).items()})[:0]
        features = self.features(view, inputs, given)
        heads = cast(nn.ModuleDict, self.heads[self.route(view).tower])
        spaces = {space: head(features) for space, head in heads.items()}
        tokens = spaces.pop("tokens", None)
        mask = features.mask
        if tokens is None:
            return Embedding(spaces, grid=features.grid)
        made_new = features.tokens is not None and tokens.shape[1] != features.tokens.shape[1]
        if made_new or mask is None:  # a head that makes tokens of its own: all are real, and lie in no grid
            mask = tokens.new_ones(tokens.shape[:2]).bool()
        return Embedding(spaces, tokens, mask, None if made_new else features.grid)


def _blank(x: Tensor) -> Tensor:
    """One row of zeros (True, in a mask: attention to nothing is not a number) in the place of none."""
    return torch.full((1, *x.shape[1:]), x.dtype == torch.bool, dtype=x.dtype, device=x.device)


def _blank_embedding(e: Embedding) -> Embedding:
    return replace(e.map(_blank), mask=None if e.mask is None else _blank(e.mask))


def is_frozen(tower: nn.Module) -> bool:
    """Whether nothing in the tower is trained."""
    return not any(parameter.requires_grad for parameter in tower.parameters())
