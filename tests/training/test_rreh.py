"""RREH: each block is at its minimum, the objective never rises, and loose items help where pairs are few."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Embedding, Features
from diptych.data.pairs import prepare
from diptych.data.sources import open_table
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.retrieval import retrieve
from diptych.models import Towers, dual_encoder, load, save
from diptych.scoring import Hamming
from diptych.training import rreh
from diptych.training.rreh import fit_rreh, hash_heads
from diptych.training.run import reference_inputs


def two_views(rows: int, *, seed: int = 0, noise: float = 0.5) -> dict[str, Tensor]:
    """Two noisy linear looks at the same hidden vectors."""
    maps = torch.Generator().manual_seed(99)
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 12, generator=generator)
    looks = {name: torch.randn(12, width, generator=maps) for name, width in (("image", 40), ("text", 30))}
    noisy = {name: hidden @ look for name, look in looks.items()}
    return {name: x + noise * 12**0.5 * torch.randn(x.shape, generator=generator) for name, x in noisy.items()}


def map_of(fitted: rreh.Hashing, test: dict[str, Tensor]) -> float:
    codes = {}
    for name, x in test.items():
        rows = F.layer_norm(x.double(), x.shape[1:])
        codes[name] = Embedding({"code": rreh.signs(rows @ fitted.weights[name].T + fitted.biases[name]).float()})
    keys = torch.arange(len(test["text"]))[:, None]
    return retrieve(codes["text"], codes["image"], keys, keys, Hamming()).map


def state_of(seed: int = 0) -> rreh._State:
    """An alternation under way, with unpaired items in both views."""
    pairs, loose = two_views(30, seed=seed), two_views(20, seed=seed + 1)
    views = {name: rreh._View(pairs[name], loose[name][: 20 if name == "image" else 11], 0.1) for name in pairs}
    anchors = torch.arange(0, 30, 3)
    rebuilt = {name: view.rebuilt_from(anchors, 0.1) for name, view in views.items()}
    latent = rreh._canonical([view.x[:30] for view in views.values()], 8)
    return rreh._State(views, rebuilt, anchors, latent, relation=0.7, code=1.3)


def test_the_objective_is_the_equation_worked_out_item_by_item():
    state = state_of()
    state.round()
    total, all_latent = 0.0, torch.cat([state.latent, *state.loose.values()])
    for row in all_latent:
        turned = state.rotation @ row
        total += 1.3 * sum((float(x) - (1.0 if float(x) >= 0 else -1.0)) ** 2 for x in turned)
    for name, view in state.views.items():
        mine = torch.cat([state.latent, state.loose[name]])
        for x, v in zip(view.x, mine, strict=True):
            total += float((v - state.maps[name] @ x).square().sum())
        total += 0.1 * len(view.x) * float(state.maps[name].square().sum())
        for u, z in zip(state.loose[name], state.rebuilt[name], strict=True):
            kept = sum(weight * state.latent[a] for weight, a in zip(z, state.anchors, strict=True))
            total += 0.7 * float((u - kept).square().sum())
    assert state.objective() == pytest.approx(total, rel=1e-10)  # float64


def test_it_never_rises_and_reconstruction_weights_are_those_of_the_normal_equations():
    state = state_of()
    values = [state.objective()] + [state.round() for _ in range(15)]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))
    assert values[-1] < 0.9 * values[0]
    view, z = state.views["image"], state.rebuilt["image"]
    base, item = view.x[state.anchors], view.x[30]
    expected = torch.linalg.lstsq(
        torch.cat([base.T, (0.1 * 40) ** 0.5 * torch.eye(10, dtype=base.dtype)]),
        torch.cat([item, torch.zeros(10, dtype=base.dtype)]),
    ).solution
    torch.testing.assert_close(z[0], expected)


@pytest.mark.parametrize("block", ["latent", "image", "text"])
def test_moving_any_latent_vector_raises_it_once_the_others_stand_still(block: str):
    """Latent vectors at their minimum given W, R and the codes: where the alternation has come to rest."""
    state = state_of()
    for _ in range(300):
        state.round()
    held, codes = state.latent if block == "latent" else state.loose[block], state._codes()
    least = state.objective()
    generator = torch.Generator().manual_seed(3)
    before = held.clone()
    for _ in range(5):
        held.copy_(before + 1e-2 * torch.randn(held.shape, generator=generator, dtype=held.dtype))
        if torch.equal(state._codes(), codes):
            assert state.objective() > least
    held.copy_(before)


def test_what_was_fitted_finds_partners_and_loose_items_help_where_pairs_are_few():
    pairs, test = two_views(60), two_views(200, seed=5)
    image, text = two_views(600, seed=6)["image"], two_views(600, seed=7)["text"]
    alone = map_of(fit_rreh(pairs, bits=24), test)
    helped = map_of(fit_rreh(pairs, {"image": image, "text": text}, bits=24), test)
    many = map_of(fit_rreh(two_views(660), bits=24), test)
    assert alone > 0.15  # chance is 0.03
    assert helped > alone + 0.02 and many > helped


def test_the_model_gives_the_fitted_codes_and_a_checkpoint_keeps_them(shapes: Path, tmp_path: Path):
    model = dual_encoder(Towers(image_size=24, vocab_size=300, widths=(32,), depths=(1,), text_width=32), parts={})
    table = open_table(shapes)
    model.processors["text"].fit([text for texts in table["text"] for text in texts])
    pairs, model = prepare(table, model.processors), model.eval()
    first = pairs.keys.offsets[:-1]
    with torch.no_grad():
        image = model.features("image", pairs.views["image"].take(pairs.keys.owner[first])).pooled
        text = model.features("text", pairs.views["text"].take(first)).pooled
    fitted = fit_rreh({"image": image, "text": text}, bits=16, anchors=20)
    hashed = hash_heads(model, fitted)
    codes = hashed.heads["text"]["code"](Features(text))  # type: ignore[index]
    rows = F.layer_norm(text.double(), (32,))
    assert torch.equal(codes.detach().double(), rreh.signs(rows @ fitted.weights["text"].T + fitted.biases["text"]))
    save(hashed, tmp_path / "model", reference=reference_inputs(hashed))
    found = evaluate(load(tmp_path / "model"), table, scorer="hamming").retrieval["text_to_image"]
    assert found.recall[10] > 2 * found.chance[10]  # towers are random, so a little is all there is
    with pytest.raises(ValueError, match="no hash function was fitted for the tower 'image'"):
        hash_heads(model, rreh.Hashing({}, {}, fitted.codes, ()))


def test_mistakes_are_named():
    good = two_views(20)
    for pairs, unpaired, message in (
        ({"image": good["image"]}, {}, "two views or more"),
        ({**good, "text": good["text"][:19]}, {}, "as many rows each"),
        (good, {"audio": good["text"]}, "unpaired items of those views"),
        (good, {"text": good["image"]}, r"unpaired features of 'text' are \(20, 40\)"),
        ({**good, "text": good["text"] / 0}, {}, "'text' are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_rreh(pairs, unpaired, bits=8)
    with pytest.raises(ValueError, match="expected 1 to 20, the fewest of pairs"):
        fit_rreh(good, bits=21)
    with pytest.raises(ValueError, match="ridge 0"):
        fit_rreh(good, bits=8, ridge=0)
