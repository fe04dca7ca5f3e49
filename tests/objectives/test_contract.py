"""What every objective must keep to: each `Objective` of the package is found, built by its `example()`, checked."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import diptych.objectives
from diptych.core import Batch, Example, Objective, Pairing


def objectives() -> Iterator[type[Objective]]:
    """Every objective class that a module of `diptych.objectives` defines."""
    for module in pkgutil.walk_packages(diptych.objectives.__path__, "diptych.objectives."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and issubclass(thing, Objective) and thing.__module__ == module.name:
                yield thing


FOUND = sorted(objectives(), key=lambda cls: cls.__name__)
pytestmark = pytest.mark.parametrize("cls", FOUND, ids=lambda cls: cls.__name__)


def double(example: Example) -> Example:
    """The example in float64, its embeddings as leaves."""
    embeddings = {v: e.map(lambda x: x.detach().double().requires_grad_()) for v, e in example.embeddings.items()}
    parts = {name: part.double() for name, part in example.parts.items()}
    return replace(example, objective=example.objective.double(), parts=parts, embeddings=embeddings)


def pairing(example: Example, rows: Mapping[str, slice] | None = None) -> Pairing:
    whole = {view: slice(0, len(items)) for view, items in example.items.items()}
    rows = rows or whole
    inputs = {view: {n: t[rows[view]] for n, t in tensors.items()} for view, tensors in example.inputs.items()}
    return Pairing(example.embeddings, rows, example.keys, example.items, example.parts, inputs, seed=1)


def loss_and_gradients(example: Example, chunks: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(chunks):
        rows = {v: slice(len(x) * i // chunks, len(x) * (i + 1) // chunks) for v, x in example.items.items()}
        value = example.objective(pairing(example, rows))
        value.backward()
        total += value.detach()
    leaves = {f"{v}.{n}": t for v, e in example.embeddings.items() for n, t in e.named().items()}
    return total, {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def test_it_is_a_sum_over_anchor_rows(cls: type[Objective]):
    torch.manual_seed(0)
    whole, cut = loss_and_gradients(double(cls.example())), loss_and_gradients(double(cls.example()), chunks=4)
    torch.testing.assert_close(cut[0], whole[0], rtol=1e-12, atol=0)
    assert cut[1].keys() == whole[1].keys() and whole[1]
    for name, gradient in whole[1].items():
        assert gradient.isfinite().all()
        torch.testing.assert_close(cut[1][name], gradient, rtol=0, atol=1e-12)


def test_the_order_of_rows_changes_nothing(cls: type[Objective]):
    example = double(cls.example())
    generator = torch.Generator().manual_seed(2)
    order = {view: torch.randperm(len(items), generator=generator) for view, items in example.items.items()}
    moved = replace(
        example,
        embeddings={v: e[order[v]].map(lambda x: x.detach().requires_grad_()) for v, e in example.embeddings.items()},
        keys={v: k[order[v]] for v, k in example.keys.items()},
        items={v: i[order[v]] for v, i in example.items.items()},
        inputs={v: {n: t[order[v]] for n, t in tensors.items()} for v, tensors in example.inputs.items()},
    )
    value, gradients = loss_and_gradients(example)
    other, moved_gradients = loss_and_gradients(moved)
    torch.testing.assert_close(other, value, rtol=1e-12, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(moved_gradients[name], gradient[order[name.split(".")[0]]], rtol=0, atol=1e-12)


def test_its_size_is_known_before_anything_is_encoded(cls: type[Objective]):
    example = cls.example()
    inputs = {view: {"x": torch.zeros(len(items), 1)} for view, items in example.items.items()}
    size = example.objective.size(Batch(inputs, example.keys, example.items))
    assert size.dim() == 0 and float(size) > 0


def test_what_it_needs_is_what_its_example_has(cls: type[Objective]):
    example = cls.example()
    needs = example.objective.needs
    assert needs.views <= set(example.embeddings) and needs.parts <= set(example.parts)


def test_gradient_steps_lower_it(cls: type[Objective]):
    example = double(cls.example())
    leaves = [t for e in example.embeddings.values() for t in e.named().values()]
    optimizer = torch.optim.Adam(leaves, lr=0.05)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = example.objective(pairing(example))
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]
