"""A model: towers with heads, and the named parts that objectives and scorers ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from diptych.core.embedding import Embedding, Features


@dataclass(frozen=True)
class Route:
    """How a view is encoded: by which tower."""

    tower: str


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

    def features(self, view: str, inputs: Mapping[str, Tensor]) -> Features:
        """What the view's tower says of `inputs`, each led by N rows; features given ready pass through."""
        if "pooled" in inputs:
            grid = tuple(inputs["grid"][0].tolist()) if "grid" in inputs and len(inputs["grid"]) else None
            return Features(inputs["pooled"].float(), inputs.get("tokens"), inputs.get("mask"), grid)
        return self.towers[self.route(view).tower](inputs)

    def encode(self, view: str, inputs: Mapping[str, Tensor]) -> Embedding:
        """Encode N rows of a view: tower, then every head of the tower.

        Args:
            view: e.g. `"text"` or `"image@strong"`.
            inputs: name -> tensor led by N rows, as the tower's processor makes them.

        Returns:
            Vectors `[N, D]` of every space that has a head; tokens `[N, T, D']` where a head is named `"tokens"`.

        Raises:
            KeyError: if no tower takes the view.
        """
        features = self.features(view, inputs)
        heads = cast(nn.ModuleDict, self.heads[self.route(view).tower])
        spaces = {space: head(features) for space, head in heads.items()}
        tokens = spaces.pop("tokens", None)
        mask = features.mask
        if tokens is not None and mask is None:
            mask = tokens.new_ones(tokens.shape[:2]).bool()
        return Embedding(spaces, tokens, mask if tokens is not None else None, features.grid)


def is_frozen(tower: nn.Module) -> bool:
    """Whether nothing in the tower is trained."""
    return not any(parameter.requires_grad for parameter in tower.parameters())
