"""The step gives one answer however the batch is cut: float64, equal to a single autograd graph."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Batch, Embedding, Encoder, Features, Model, Needs, Objective, Pairing
from diptych.core.objective import example_keys
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.step import step


class Toy(Encoder):
    """Real-valued tokens through a linear map, with dropout."""

    def __init__(self, width: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.blocks = width, nn.ModuleList([nn.Linear(5, width)])
        self.drop = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Tensor]) -> Features:
        x = self.drop(self.blocks[0](inputs["x"]).tanh())
        weight = inputs["mask"][..., None].to(x.dtype)
        return Features((x * weight).sum(1) / weight.sum(1), x, inputs["mask"])


class Unit(nn.Module):
    def forward(self, features: Features) -> Tensor:
        return F.normalize(features.pooled, dim=-1)


class TokenHead(nn.Module):
    def forward(self, features: Features) -> Tensor:
        assert features.tokens is not None
        return F.normalize(features.tokens, dim=-1)


class Late(nn.Module):
    """Best match of every token, so that tokens, their masks and their padding matter."""

    def forward(self, a: Embedding, b: Embedding) -> Tensor:
        assert a.tokens is not None and b.tokens is not None and a.mask is not None and b.mask is not None
        similar = torch.einsum("isd,jtd->ijst", a.tokens, b.tokens).masked_fill(~b.mask[None, :, None, :], -torch.inf)
        return 4 * (similar.amax(3) * a.mask[:, None]).sum(2) / a.mask[:, None].sum(2)


class Noisy(Objective):
    """Weights each text by noise keyed by its item, and learns a parameter of its own."""

    name = "noisy"

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.ones(()))

    @property
    def needs(self) -> Needs:
        return Needs(frozenset({"image", "text"}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size("text")))

    def forward(self, pairing: Pairing) -> Tensor:
        text, home = pairing.mine("text"), pairing.partner("text", "image")
        mine = (text.dense * pairing.all["image"].dense[home]).sum(1)
        noise = pairing.uniform("text", "image").to(mine).mean(1) + pairing.uniform("text").to(mine)
        return (self.own * noise * (1 - mine) ** 2).sum()


def toy_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    keys, items = example_keys()
    texts = len(items["text"])
    mask = torch.arange(7)[None] < torch.randint(2, 8, (texts, 1), generator=generator)
    image = {"x": torch.randn(11, 6, 5, generator=generator), "mask": torch.ones(11, 6, dtype=torch.bool)}
    text = {"x": torch.randn(texts, 7, 5, generator=generator), "mask": mask}
    return Batch({"image": image, "text": text}, keys, items)


def toy_model(dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    heads = {"dense": Unit(), "tokens": TokenHead()}
    towers = {"image": Toy(dropout=dropout), "text": Toy(dropout=dropout)}
    return Model(towers, {"image": heads, "text": heads}, {"dot": Dot(10.0), "late": Late()}, {})


def objective() -> Objective:
    return InfoNCE() + 0.7 * InfoNCE(scorer="late") + 0.5 * Noisy()


def cut(batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
    inputs = {view: batch.cut(view, rows[view]) for view in batch.inputs}
    return Batch(inputs, {v: batch.keys[v][rows[v]] for v in rows}, {v: batch.items[v][rows[v]] for v in rows})


def shorter(batch: Batch) -> Batch:
    """The same batch without the padding that all of its texts have."""
    longest = int(batch.inputs["text"]["mask"].sum(1).max())
    text = {name: tensor[:, :longest] for name, tensor in batch.inputs["text"].items()}
    return Batch({**batch.inputs, "text": text}, batch.keys, batch.items)


def run(batch: Batch, *, dropout: float = 0.0, **how) -> tuple[dict[str, float], dict[str, Tensor]]:
    model, goal = toy_model(dropout), objective()
    torch.manual_seed(7)
    means = step(model, goal, batch, seed=3, **how).means
    named = [*model.named_parameters(), *goal.named_parameters()]
    return means, {name: p.grad.clone() for name, p in named if p.grad is not None}


def assert_same(got: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    assert got[0].keys() == expected[0].keys() and got[1].keys() == expected[1].keys()
    for name in expected[0]:
        assert got[0][name] == pytest.approx(expected[0][name], abs=1e-12)  # float64 sums
    for name in expected[1]:
        torch.testing.assert_close(got[1][name], expected[1][name], rtol=0, atol=1e-12)  # float64 sums


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_equals_one_autograd_graph():
    batch, model, goal = toy_batch(), toy_model(), objective()
    everything = {view: model.encode(view, batch.inputs[view]) for view in batch.views}
    whole = {view: slice(0, batch.size(view)) for view in batch.views}
    pairing = Pairing(everything, whole, batch.keys, batch.items, dict(model.parts.items()), batch.inputs, seed=3)
    sum(w * term(pairing) / term.size(batch) for w, term in goal.terms()).backward()  # type: ignore[union-attr]
    named = [*model.named_parameters(), *goal.named_parameters()]
    _, gradients = run(batch)
    for name, parameter in named:
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "how", [{"micro": 3}, {"rows": 2}, {"micro": 3, "rows": 2}, {"rows": 100}, {"micro": 1, "rows": 1}]
)
def test_cuts_do_not_change_the_answer(how):
    assert_same(run(toy_batch(), **how), run(toy_batch()))


def test_order_does_not_change_the_answer():
    batch = toy_batch()
    generator = torch.Generator().manual_seed(5)
    rows = {view: torch.randperm(batch.size(view), generator=generator) for view in batch.views}
    assert_same(run(cut(batch, rows)), run(batch))


def test_dropout_is_replayed_in_micro_batches():
    """Plain with one micro-batch draws the same masks as cached with one: the replay restores the random state."""
    assert_same(run(toy_batch(), dropout=0.5, micro=100), run(toy_batch(), dropout=0.5))


def test_missing_view_is_named():
    batch = toy_batch()
    only = Batch({"image": batch.inputs["image"]}, batch.keys, batch.items)
    with pytest.raises(KeyError, match="text"):
        step(toy_model(), InfoNCE(), only)


def _rank(rank: int, port: int, images: int, out: str, how: dict) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    batch = toy_batch()
    rows = {view: (items < images) if rank == 0 else (items >= images) for view, items in batch.items.items()}
    got = run(shorter(cut(batch, {view: torch.nonzero(mask)[:, 0] for view, mask in rows.items()})), **how)
    if rank == 0:
        torch.save(got, out)
    dist.destroy_process_group()


@pytest.mark.parametrize(("images", "how"), [(7, {}), (10, {"micro": 2, "rows": 3})])
def test_two_uneven_processes_give_the_same_answer(tmp_path: Path, images: int, how: dict):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, (port, images, str(tmp_path / "got.pt"), how), nprocs=2)  # type: ignore[attr-defined]
    assert_same(torch.load(tmp_path / "got.pt", weights_only=True), run(toy_batch()))
