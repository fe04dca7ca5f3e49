"""Rows that share a key are never negatives: what the gradient says of every such pair.

A score is a negative's if raising it never helps: it gets no pull upwards where it is far too low, and a push
downwards (or there, too) somewhere. So each pair that shares a key is looked at twice: with a score below
all others, where a positive is pulled up and one left out feels nothing, and with an equal, high score for
all such pairs, where a false negative is pushed down even by losses that only see the hardest.
Several positives of one row may well compete where all are high: that alone is no fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import cases
import contract
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Embedding, Example, Objective, Pairing, Scorer
from diptych.core.pairing import share_a_key

Level = Callable[[Tensor, Tensor], Tensor]


class UnknownRows(Exception):
    """Rows were scored that are not the batch's, so nothing tells which keys they have."""


@dataclass
class Call:
    """Scores that were given out in place of a scorer's, and which of them are of pairs that share a key."""

    scores: Tensor
    shared: Tensor


class Probe(Scorer):
    """Stands in for a scorer: sets scores of pairs that share a key to a level, and keeps what it gave.

    Its type is not that of the scorer, so an objective that has a short cut for it takes the plain way.
    """

    def __init__(self, scorer: Scorer, level: Level, keys_of: Callable[[Embedding], Tensor]) -> None:
        super().__init__()
        self.scorer, self.level, self.keys_of = scorer, level, keys_of
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        return _own_or_scorers(self, name)

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self._give(self.scorer(queries, gallery), share_a_key(self.keys_of(queries), self.keys_of(gallery)))

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self._give(self.scorer.pairs(a, b), share_a_key(self.keys_of(a), self.keys_of(b)).diagonal())

    def _give(self, scores: Tensor, shared: Tensor) -> Tensor:
        given = self.level(scores.detach(), shared).requires_grad_() if scores.numel() else scores
        self.calls.append(Call(given, shared))
        return given


class Same(Scorer):
    """Gives what a scorer gives, and is of another type."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def __getattr__(self, name: str) -> Any:
        return _own_or_scorers(self, name)

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self.scorer(queries, gallery)

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.scorer.pairs(a, b)


@dataclass
class Register:
    """Finds the keys of embedded rows by what stands in them, whoever cut them and in whatever order."""

    tables: list[tuple[Embedding, Tensor]] = field(default_factory=list)

    @staticmethod
    def of(seen: Pairing) -> Register:
        """All rows of student and teacher."""
        sides = [seen] if seen.teacher is None else [seen, seen.teacher]
        width = max(k.shape[1] for side in sides for k in side.keys.values())
        return Register(
            [
                (e, F.pad(side.keys[view], (0, width - side.keys[view].shape[1]), value=-1))
                for side in sides
                for view, e in side.all.items()
            ]
        )

    def __call__(self, rows: Embedding) -> Tensor:
        """`[n, K]` keys.

        Raises:
            UnknownRows: if the rows are not some of the batch's.
        """
        for embedding, keys in self.tables:
            for name in rows.named().keys() & embedding.named().keys():
                x, y = rows.named()[name].detach().flatten(1), embedding.named()[name].detach().flatten(1)
                if x.shape[1] == y.shape[1]:
                    same = (x[:, None] == y[None]).all(2)
                    if len(x) and same.any(1).all():
                        return keys[same.int().argmax(1)]
        if not len(rows):
            return self.tables[0][1][:0]
        raise UnknownRows(f"{len(rows)} rows were scored that are no rows of the batch")


def lowest(scores: Tensor, shared: Tensor) -> Tensor:
    """Pairs that share a key far below all others; exp(-30) is still a number that a gradient would show."""
    return torch.where(shared, scores.min() - 30, scores)


def highest(scores: Tensor, shared: Tensor) -> Tensor:
    """Pairs that share a key all equal, far above all others, in every call alike."""
    return torch.where(shared, torch.zeros_like(scores), torch.full_like(scores, -20))


def check_shared_keys_are_never_negatives(cls: type[Objective]) -> None:
    """No pair that shares a key is a negative, in the scores of its scorers or, without any, of inner products."""
    found = probed(cls) or isolated(cls)
    if not found:
        pytest.skip(f"{cls.__name__} scores no pairs")
    for what, shared, low, high in found:
        wrong = shared & ((low > 0) | ((low >= 0) & (high > 1e-10)))  # float64 rounding of a sum that should be 0
        assert not wrong.any(), (
            f"{what}: {int(wrong.sum())} of {int(shared.sum())} pairs that share a key are pushed apart, "
            f"the first at {wrong.nonzero()[0].tolist()}: take positives from `pairing.positives`"
        )


def check_short_cuts_lead_to_the_same_place(cls: type[Objective]) -> None:
    """What an objective does faster for a scorer that it knows is what it does for any other, in awkward cases too."""
    if not any(isinstance(part, Scorer) for part in cls.example().parts.values()):
        pytest.skip(f"the example of {cls.__name__} has no scorer")
    for what, example in cases.awkward(cases.fresh(cls)):
        expected = contract.outcome(example)
        others = {name: Same(part) if isinstance(part, Scorer) else part for name, part in example.parts.items()}
        value, gradients = contract.outcome(replace(example, parts=others))
        gradients = {name.replace(".scorer.", "."): gradient for name, gradient in gradients.items()}
        contract.assert_same((value, gradients), expected, f"{what}, and a scorer of another type")


Found = tuple[str, Tensor, Tensor, Tensor]


def probed(cls: type[Objective]) -> list[Found]:
    """Of every call of a scorer: which pairs share a key, and the gradient of their scores at both levels."""
    calls: list[dict[str, list[Call]]] = []
    for level in (lowest, highest):
        example = cases.fresh(cls)
        seen = cases.pairing(example)
        scorers = {name: part for name, part in example.parts.items() if isinstance(part, Scorer)}
        probes = {name: Probe(part, level, Register.of(seen)) for name, part in scorers.items()}
        try:
            value = example.objective(replace(seen, parts={**example.parts, **probes}))
        except UnknownRows as error:
            pytest.skip(f"{cls.__name__}: {error}")
        if value.requires_grad:
            value.backward()
        calls.append({name: probe.calls for name, probe in probes.items()})
    found = []
    for name in calls[0]:
        assert len(calls[0][name]) == len(calls[1][name]), f"{name!r} is called as often as its scores say"
        for number, (low, high) in enumerate(zip(calls[0][name], calls[1][name], strict=True)):
            if low.scores.grad is not None and high.scores.grad is not None:
                found.append((f"scorer {name!r}, call {number}", low.shared, low.scores.grad, high.scores.grad))
    return found


def isolated(cls: type[Objective]) -> list[Found]:
    """The same for inner products that the objective takes itself: one more dimension tells the pairs apart.

    All rows are 0 there but one row of one view, which is 1. What another view's row has there is then what it
    adds to its inner product with that one row, and its gradient is that product's.
    """
    example = cases.fresh(cls)
    found = []
    for space, a, b in _spaces(example):
        shared = share_a_key(example.keys[a], example.keys[b])
        try:
            low, high = (_products(cls, space, a, b, shared, level) for level in ((-3.0, 0.0), (3.0, 0.0)))
        except RuntimeError:  # its parts take vectors of one width alone
            continue
        if low.any() or high.any():
            found.append((f"{space!r} of {a!r} and {b!r}", shared, low, high))
    return found


def _own_or_scorers(module: nn.Module, name: str) -> Any:
    """An attribute of the module, or else of the scorer it stands in for."""
    try:
        return nn.Module.__getattr__(module, name)
    except AttributeError:
        return getattr(nn.Module.__getattr__(module, "scorer"), name)


def _spaces(example: Example) -> Iterator[tuple[str, str, str]]:
    for a, left in example.embeddings.items():
        for b, right in example.embeddings.items():
            for space in left.vectors.keys() & right.vectors.keys():
                if a != b and left.vectors[space].shape[1] == right.vectors[space].shape[1]:
                    yield space, a, b


def _products(cls: type[Objective], space: str, a: str, b: str, shared: Tensor, level: tuple[float, float]) -> Tensor:
    """`[N_a, N_b]`: the gradient of every inner product, with `level` added to those of pairs that share a key."""
    rows = []
    for i in range(len(shared)):
        example = cases.fresh(cls)
        one = F.one_hot(torch.tensor(i), len(shared)).double()
        others = torch.where(shared[i], *level).double().requires_grad_()
        wide = {view: _widened(e, space, {a: one, b: others}.get(view)) for view, e in example.embeddings.items()}
        teacher = example.teacher
        if teacher is not None:
            teacher = replace(teacher, all={view: _widened(e, space, None) for view, e in teacher.all.items()})
        value = example.objective(cases.pairing(replace(example, embeddings=wide, teacher=teacher)))
        gradient = torch.autograd.grad(value, others, allow_unused=True)[0] if value.requires_grad else None
        rows.append(torch.zeros_like(others) if gradient is None else gradient)
    return torch.stack(rows)


def _widened(embedding: Embedding, space: str, column: Tensor | None) -> Embedding:
    """One more dimension of one space; zeros where no column is given."""
    if space not in embedding.vectors:
        return embedding
    x = embedding.vectors[space].detach()
    column = x.new_zeros(len(x)) if column is None else column
    return replace(embedding, vectors={**embedding.vectors, space: torch.cat([x, column[:, None]], 1)})
