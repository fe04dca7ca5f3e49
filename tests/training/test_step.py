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

from diptych.core import Batch, Embedding, Encoder, Features, Model, Needs, Objective, Pairing, Route
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


class Composer(Encoder):
    """A query of words of its own, an image and a text: it reads two other views."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width, self.blocks = width, nn.ModuleList([nn.Linear(3 * width, width)])
        self.words = nn.Linear(5, width)

    def forward(self, inputs: Mapping[str, Tensor], given: Mapping[str, Embedding]) -> Features:  # type: ignore[override]
        tokens, mask = given["text"].tokens, given["text"].mask
        assert tokens is not None and mask is not None
        said = (tokens * mask[..., None]).sum(1)
        joined = torch.cat([self.words(inputs["x"]), given["image"].dense, said], 1)
        return Features(self.blocks[0](joined).tanh())


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
    query = {"x": torch.randn(texts, 5, generator=generator)}
    inputs = {"image": image, "text": text, "query": query}
    return Batch(inputs, {**keys, "query": keys["text"]}, {**items, "query": items["text"]})


def toy_model(dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    heads = {"dense": Unit(), "tokens": TokenHead()}
    towers = {"image": Toy(dropout=dropout), "text": Toy(dropout=dropout), "composer": Composer()}
    spaces = {"image": heads, "text": heads, "composer": {"dense": Unit()}}
    routes = {"query": Route("composer", reads=("image", "text"))}
    return Model(towers, spaces, {"dot": Dot(10.0), "late": Late()}, {}, routes)


def objective() -> Objective:
    return InfoNCE() + 0.7 * InfoNCE(scorer="late") + 0.5 * Noisy() + 0.9 * InfoNCE("query", "image")


def cut(batch: Batch, rows: Mapping[str, Tensor]) -> Batch:
    inputs = {view: batch.cut(view, rows[view]) for view in batch.inputs}
    return Batch(inputs, {v: batch.keys[v][rows[v]] for v in rows}, {v: batch.items[v][rows[v]] for v in rows})


def shorter(batch: Batch) -> Batch:
    """The same batch without the padding that all of its texts have."""
    longest = int(batch.inputs["text"]["mask"].sum(1).max()) if batch.size("text") else 2
    text = {name: tensor[:, :longest] for name, tensor in batch.inputs["text"].items()}
    return Batch({**batch.inputs, "text": text}, batch.keys, batch.items)


def run(
    batch: Batch, *, dropout: float = 0.0, micro: int | None = None, rows: int | None = None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    model, goal = toy_model(dropout), objective()
    torch.manual_seed(7)
    means = step(model, goal, batch, seed=3, micro=micro, rows=rows).means
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
    everything = {view: model.encode(view, batch.inputs[view]) for view in ("image", "text")}
    reads = {"image": everything["image"][batch.items["query"]], "text": everything["text"]}
    everything["query"] = model.encode("query", batch.inputs["query"], reads)
    whole = {view: slice(0, batch.size(view)) for view in batch.views}
    pairing = Pairing(everything, whole, batch.keys, batch.items, dict(model.parts.items()), batch.inputs, seed=3)
    sum(w * term(pairing) / term.size(batch) for w, term in goal.terms()).backward()  # type: ignore[union-attr]
    named = [*model.named_parameters(), *goal.named_parameters()]
    _, gradients = run(batch)
    for name, parameter in named:
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("micro", "rows"), [(3, None), (None, 2), (3, 2), (None, 100), (1, 1)])
def test_cuts_do_not_change_the_answer(micro: int | None, rows: int | None):
    assert_same(run(toy_batch(), micro=micro, rows=rows), run(toy_batch()))


def test_order_does_not_change_the_answer():
    batch = toy_batch()
    generator = torch.Generator().manual_seed(5)
    rows = {view: torch.randperm(batch.size(view), generator=generator) for view in ("image", "text")}
    rows["query"] = rows["text"]  # a query reads its own text
    assert_same(run(cut(batch, rows)), run(batch))


def test_dropout_is_replayed_in_micro_batches():
    """Plain with one micro-batch draws the same masks as cached with one: the replay restores the random state."""
    assert_same(run(toy_batch(), dropout=0.5, micro=100), run(toy_batch(), dropout=0.5))


def test_missing_view_is_named():
    batch = toy_batch()
    only = Batch({"image": batch.inputs["image"]}, batch.keys, batch.items)
    with pytest.raises(KeyError, match="text"):
        step(toy_model(), InfoNCE(), only)


def test_a_view_that_reads_rows_which_are_not_there_is_refused():
    batch = toy_batch()
    fewer = {view: batch.items[view] > (3 if view == "image" else -1) for view in batch.views}
    with pytest.raises(ValueError, match="'query' reads view 'image', which has no row of item 0"):
        step(toy_model(), objective(), cut(batch, {view: torch.nonzero(mask)[:, 0] for view, mask in fewer.items()}))


def test_views_that_read_each_other_are_refused():
    model = toy_model()
    model.routes["image"] = Route("image", reads=("query",))
    with pytest.raises(ValueError, match="in a circle"):
        step(model, objective(), toy_batch())


SPLITS: list[tuple[int, dict]] = [
    (7, {}),
    (10, {"micro": 2, "rows": 3}),
    (11, {}),  # the second process has no row at all
    (0, {"micro": 4, "rows": 2}),  # nor has the first
]


def _rank(rank: int, port: int, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    batch = toy_batch()
    for number, (images, how) in enumerate(SPLITS):
        rows = {view: (items < images) == (rank == 0) for view, items in batch.items.items()}
        got = run(shorter(cut(batch, {view: torch.nonzero(mask)[:, 0] for view, mask in rows.items()})), **how)
        if rank == 0:
            torch.save(got, f"{out}/{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes gave for every split."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_rank, (port, str(out)), nprocs=2)  # type: ignore[attr-defined]
    return out


@pytest.mark.parametrize("number", range(len(SPLITS)))
def test_two_uneven_processes_give_the_same_answer(two_processes: Path, number: int):
    assert_same(torch.load(two_processes / f"{number}.pt", weights_only=True), run(toy_batch()))
