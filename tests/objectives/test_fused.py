"""The fused losses against the plain formulas that stand in the objectives, in float64: values and all gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from diptych.core import Embedding, Objective, Pairing
from diptych.core.objective import example_keys
from diptych.objectives import InfoNCE, Sigmoid, fused
from diptych.scoring import Dot

KEYS, ITEMS = example_keys()
KEYS["image"][3] = -1  # an image without a positive; several texts then have none either
WHOLE = {view: slice(0, len(items)) for view, items in ITEMS.items()}  # 11 images, 19 texts
UNEVEN = {"image": slice(2, 7), "text": slice(4, 5)}
NO_IMAGES = {"image": slice(4, 4), "text": slice(3, 19)}
OBJECTIVES = [InfoNCE(), InfoNCE(label_smoothing=0.1), Sigmoid()]


class PlainDot(Dot):
    """Scores as `Dot` does; the objectives take their plain formula for it, as it is another class."""


def loss_and_gradients(
    objective: Objective, dot: Dot, rows: dict[str, slice], keys: dict[str, Tensor] = KEYS
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    leaves = {
        view: F.normalize(torch.randn(len(k), 8, generator=generator, dtype=torch.float64), dim=1).requires_grad_()
        for view, k in keys.items()
    }
    everything = {view: Embedding({"dense": leaf}) for view, leaf in leaves.items()}
    loss = objective(Pairing(everything, rows, keys, {}, {"dot": dot.double()}))
    (0.5 * loss).backward()
    gradients = [leaf.grad for leaf in (*leaves.values(), *dot.parameters())]
    assert all(gradient is not None for gradient in gradients)
    return [loss.detach(), *gradients]  # type: ignore[list-item]


def in_blocks_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "block_rows", lambda columns, bytes_each: rows)


@pytest.mark.parametrize("rows", [WHOLE, UNEVEN, NO_IMAGES], ids=["whole", "uneven", "no images"])
@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["infonce", "smoothed", "sigmoid"])
@pytest.mark.parametrize("dot", [lambda cls: cls(10.0), lambda cls: cls(10.0, bias=-3.0)], ids=["scale", "bias"])
def test_it_equals_the_plain_formula(
    objective: Objective,
    dot: Callable[[type[Dot]], Dot],
    block: int,
    rows: dict[str, slice],
    monkeypatch: pytest.MonkeyPatch,
):
    in_blocks_of(block, monkeypatch)
    got, expected = (loss_and_gradients(objective, dot(cls), rows) for cls in (Dot, PlainDot))
    for ours, plain in zip(got, expected, strict=True):
        # Sums of at most 11 * 19 scores below 20, or of their gradients: float64 rounds at 1e-16 of each.
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["infonce", "smoothed", "sigmoid"])
def test_past_its_limit_the_scale_keeps_its_gradient(objective: Objective, monkeypatch: pytest.MonkeyPatch):
    in_blocks_of(4, monkeypatch)
    dots = [cls(5.0, max_scale=5.0) for cls in (Dot, PlainDot)]
    for dot in dots:
        dot.log_scale.data += 0.5
    got, expected = (loss_and_gradients(objective, dot, WHOLE)[-1] for dot in dots)
    assert float(expected) != 0
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["infonce", "smoothed", "sigmoid"])
def test_classes_as_keys_make_most_pairs_positive(objective: Objective, monkeypatch: pytest.MonkeyPatch):
    in_blocks_of(7, monkeypatch)
    keys = {"image": torch.arange(20)[:, None] % 2, "text": torch.arange(30)[:, None] % 3}
    rows = {"image": slice(0, 20), "text": slice(0, 30)}
    got, expected = (loss_and_gradients(objective, cls(10.0), rows, keys) for cls in (Dot, PlainDot))
    for ours, plain in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-11)  # as above


class Largest(TorchDispatchMode):
    """Keeps the number of entries of the largest tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.entries = max(self.entries, tensor.numel())
        return out


@pytest.mark.parametrize("rows", [slice(0, 200), slice(20, 190)], ids=["whole", "part"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["infonce", "smoothed", "sigmoid"])
def test_no_more_than_a_block_of_scores_is_made(objective: Objective, rows: slice, monkeypatch: pytest.MonkeyPatch):
    in_blocks_of(16, monkeypatch)
    keys = {view: torch.arange(200)[:, None] for view in ("image", "text")}
    with Largest() as ours:
        loss_and_gradients(objective, Dot(10.0), {"image": rows, "text": rows}, keys)
    with Largest() as plain:
        loss_and_gradients(objective, PlainDot(10.0), {"image": rows, "text": rows}, keys)
    assert ours.entries == 16 * 200  # of scores; embeddings are 200 x 8
    assert plain.entries == 200 * (rows.stop - rows.start)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["infonce", "smoothed", "sigmoid"])
def test_scores_far_apart_stay_finite_in_float32(objective: Objective, monkeypatch: pytest.MonkeyPatch):
    """Scores of -1000 and 1000: their exponentials alone would be 0 and infinite."""
    in_blocks_of(1, monkeypatch)
    image = F.normalize(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 1e-3]]), dim=1).requires_grad_()
    text = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    everything = {"image": Embedding({"dense": image}), "text": Embedding({"dense": text})}
    keys = {view: torch.arange(3)[:, None] for view in everything}
    rows = {view: slice(0, 3) for view in everything}
    values = []
    for cls in (Dot, PlainDot):
        dot = cls(1000.0, max_scale=1000.0)
        value = objective(Pairing(everything, rows, keys, {}, {"dot": dot}))
        value.backward()
        values.append(value.detach())
        assert image.grad is not None and image.grad.isfinite().all() and dot.log_scale.grad.isfinite()  # type: ignore[union-attr]
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=0)  # float32 sums of thousands


def test_without_gradients_the_value_is_the_same():
    everything = {v: Embedding({"dense": torch.eye(3, requires_grad=True)}) for v in ("image", "text")}
    keys, rows = {v: torch.arange(3)[:, None] for v in everything}, {v: slice(0, 3) for v in everything}
    pairing = Pairing(everything, rows, keys, {}, {"dot": Dot(2.0)})
    for objective in OBJECTIVES:
        with torch.no_grad():
            value = objective(pairing)
        assert not value.requires_grad and float(value) == float(objective(pairing).detach())
