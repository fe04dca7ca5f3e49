"""Frozen towers run once an item, whoever asks; what is stored is what they would say again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn

from diptych.core.embedding import Features as Said
from diptych.core.model import Model
from diptych.data.cache import cache_root
from diptych.data.features import DamagedFeatures
from diptych.data.pairs import Pairs, prepare, tokenize
from diptych.data.sources import open_table
from diptych.data.transforms import RandomAffine
from diptych.data.versions import Versions
from diptych.data.views import Features
from diptych.evaluation.evaluate import embed_texts, evaluate
from diptych.models import Towers, dual_encoder, load, save
from diptych.models.embed import embed, stored_features, with_frozen_features
from diptych.models.modes import evaluating
from diptych.models.opened import open_model
from diptych.scoring import Dot
from diptych.search.collection import index_table
from diptych.training.run import reference_inputs

BF16 = 2**-8  # half a step of bf16, relative to the value


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def rows(shapes: Path) -> Dataset:
    return open_table(shapes)


class TokensAsTheyAre(nn.Module):
    def forward(self, features: Said) -> Tensor:
        assert features.tokens is not None
        return features.tokens * 2


def model_of(rows: Dataset, *, seed: int = 0, tokens: bool = False, **towers) -> Model:
    torch.manual_seed(seed)
    asked = {"image_size": 16, "width": 8, "vocab_size": 300, "max_length": 20, "freeze": "both", "dropout": 0.5}
    model = dual_encoder(
        Towers(**{**asked, "text_depth": 1, "patch": 4, "depths": (1, 1, 1), **towers}), parts={"dot": Dot()}
    )
    model.processors["text"].fit([text for texts in rows["text"][:] for text in texts])
    if tokens:
        for heads in model.heads.values():
            heads["tokens"] = TokensAsTheyAre()  # type: ignore[operator, index]
    return model.train()


@contextmanager
def counted(model: Model) -> Iterator[dict[str, int]]:
    """How many rows each tower runs on while the block runs."""
    ran = dict.fromkeys(model.towers, 0)

    def hook_of(name: str):
        def count(_, inputs: tuple) -> None:
            ran[name] += len(next(iter(inputs[0].values())))

        return count

    hooks = [tower.register_forward_pre_hook(hook_of(name)) for name, tower in model.towers.items()]
    yield ran
    for hook in hooks:
        hook.remove()


def fresh(model: Model, view: str, pairs: Pairs) -> Said:
    every = np.arange(len(pairs.views[view]))
    with evaluating(model), torch.no_grad():
        return model.features(view, pairs.views[view].take(every))


def test_nothing_is_computed_twice(rows: Dataset):
    model = model_of(rows)
    distinct = len({text for texts in rows["text"][:] for text in texts})
    with counted(model) as ran:
        pairs = with_frozen_features(model, prepare(rows, model.processors))
        assert ran == {"image": len(rows), "text": distinct}
        again = with_frozen_features(model, prepare(rows, model.processors))
        with_frozen_features(model, again)  # given ready already
        assert ran == {"image": len(rows), "text": distinct}
    every = np.arange(len(rows))
    assert torch.equal(pairs.views["image"].take(every)["pooled"], again.views["image"].take(every)["pooled"])


def test_training_evaluation_and_indexing_read_the_same(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    with_frozen_features(model, prepare(rows, model.processors))
    save(model, tmp_path / "model", reference=reference_inputs(model))
    loaded = load(tmp_path / "model")
    with counted(loaded) as ran:
        evaluate(loaded, rows)
        opened = open_model(tmp_path / "model")
        index_table(replace(opened, model=loaded), rows, tmp_path / "index")
        assert ran == {"image": 0, "text": 0}
        prompts = [embed_texts(loaded, ["a photo of a red circle"]) for _ in range(2)]
        assert ran == {"image": 0, "text": 1} and torch.equal(prompts[0], prompts[1])


def test_added_rows_are_computed_alone(rows: Dataset):
    model = model_of(rows)
    with_frozen_features(model, prepare(rows.select(range(50)), model.processors))
    with counted(model) as ran:
        pairs = with_frozen_features(model, prepare(rows, model.processors))
        assert ran["image"] == len(rows) - 50
    said = fresh(model, "image", prepare(rows, model.processors)).pooled
    kept = pairs.views["image"].take(np.arange(len(rows)))["pooled"]
    assert (kept - said).abs().le(BF16 * said.abs() + 1e-5).all()  # 1e-5: float32 sums, in batches of other sizes


def test_collections_share_what_they_have_in_common(rows: Dataset):
    model = model_of(rows)
    with_frozen_features(model, prepare(rows.select(range(40)), model.processors))
    twice = concatenate_datasets([rows.select([45]), rows.select(range(20, 40)), rows.select([45])])
    with counted(model) as ran:
        with_frozen_features(model, prepare(twice, model.processors), only=["image"])
        assert ran == {"image": 1, "text": 0}


@pytest.mark.parametrize("change", ["weights", "arguments", "transform"])
def test_another_tower_or_transform_has_features_of_its_own(rows: Dataset, change: str):
    model = model_of(rows)
    first = stored_features(model, "image", prepare(rows, model.processors).views["image"])
    other = model_of(rows, **{"arguments": {"image_std": (0.5,)}, "transform": {"image_size": 24}}.get(change, {}))
    if change == "weights":
        with torch.no_grad():
            next(other.towers["image"].parameters())[0] += 0.5
    with counted(other) as ran:
        second = stored_features(other, "image", prepare(rows, other.processors).views["image"])
        assert ran["image"] == len(rows)
    every = np.arange(len(rows))
    assert not torch.equal(first.take(every)["pooled"], second.take(every)["pooled"])


def test_padding_does_not_matter(rows: Dataset):
    model = model_of(rows)
    long, short = "one triangle drawn in purple", "a red circle"
    together = stored_features(model, "text", tokenize([short, long], model.processors["text"])[0])
    with counted(model) as ran:
        alone = stored_features(model, "text", tokenize([short], model.processors["text"])[0])
        assert ran["text"] == 0
    assert torch.equal(together.take(np.array([0]))["pooled"], alone.take(np.array([0]))["pooled"])


@pytest.mark.parametrize("view", ["image", "text"])
def test_tokens_are_those_that_the_tower_gives(rows: Dataset, view: str):
    model = model_of(rows, tokens=True)
    pairs = prepare(rows, model.processors)
    stored = with_frozen_features(model, pairs)
    said, kept = fresh(model, view, pairs), stored.views[view].take(np.arange(len(pairs.views[view])))
    assert said.tokens is not None and kept["tokens"].shape == said.tokens.shape
    mask = torch.ones(said.tokens.shape[:2], dtype=torch.bool) if said.mask is None else said.mask
    assert torch.equal(kept["mask"], mask)
    # Half a step of bf16; and 1e-5, as sums of float32 depend on the batch.
    assert (kept["tokens"] - said.tokens)[mask].abs().le((BF16 * said.tokens.abs() + 1e-5)[mask]).all()
    assert not kept["tokens"][~mask].any()
    assert model.features(view, kept).grid == said.grid
    lengths = getattr(stored.views[view], "lengths", None)
    assert lengths is not None and lengths.tolist() == mask.sum(1).tolist()
    with counted(model) as ran:
        whole = embed(model, view, stored.views[view])
        assert ran[view] == 0 and whole.tokens is not None and whole.mask is not None
    assert torch.equal(whole.tokens[whole.mask], 2 * kept["tokens"][mask])


def test_pooled_features_need_no_token_files(rows: Dataset, empty_cache: Path):
    model = model_of(rows)
    pairs = prepare(rows, model.processors)
    assert set(with_frozen_features(model, pairs).views["text"].take(np.array([0]))) == {"pooled"}
    assert not list(empty_cache.glob("features/*/tokens"))
    with counted(model) as ran:
        assert "tokens" in with_frozen_features(model, pairs, tokens=["image"]).views["image"].take(np.array([0]))
        assert ran == {"image": len(rows), "text": 0}
    sizes = [len(list(folder.iterdir())) for folder in empty_cache.glob("features/*/pooled")]
    assert sizes == [1, 1]  # the pooled features of the images were there already, and are not written again


def test_a_stop_loses_nothing_that_was_computed(rows: Dataset):
    model = model_of(rows)
    pairs = prepare(rows, model.processors)
    seen = 0

    def stop(view: str, done: int, total: int) -> None:
        nonlocal seen
        seen += view == "image"
        if seen == 2:  # the first call tells of the hashing
            raise KeyboardInterrupt

    with counted(model) as ran:
        with pytest.raises(KeyboardInterrupt):
            with_frozen_features(model, pairs, only=["image"], progress=stop)
        done = ran["image"]
        assert 0 < done < len(rows)
        with_frozen_features(model, pairs, only=["image"])
        assert ran["image"] == len(rows)


def test_damage_is_named_and_mended_by_deleting(rows: Dataset, empty_cache: Path):
    model = model_of(rows)
    pairs = prepare(rows, model.processors)
    with_frozen_features(model, pairs, only=["image"])
    file = next(empty_cache.glob("features/*/pooled/shard-*/values.npy"))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DamagedFeatures, match=str(file)):
        with_frozen_features(model, pairs, only=["image"])
    for inside in [*file.parent.iterdir()]:
        inside.unlink()
    file.parent.rmdir()
    with counted(model) as ran:
        with_frozen_features(model, pairs, only=["image"])
        assert ran["image"] == len(rows)


def test_stored_augmentations_differ_and_are_the_same_again(rows: Dataset):
    model, augment = model_of(rows), RandomAffine(crop=0.6, flip=0.5)
    pairs = prepare(rows, model.processors)
    with counted(model) as ran:
        made = with_frozen_features(model, pairs, transforms=[augment], augmentations=3)
        assert ran["image"] == 3 * len(rows)
        again = with_frozen_features(model, pairs, transforms=[augment], augmentations=4)
        assert ran["image"] == 4 * len(rows)  # three of the four were there
        with_frozen_features(model, pairs, transforms=[augment], augmentations=1, seed=1, only=["image"])
        with_frozen_features(model, pairs, transforms=[RandomAffine(crop=0.5)], augmentations=1, only=["image"])
        assert ran["image"] == 6 * len(rows)
    view, other, every = made.views["image"], again.views["image"], np.arange(len(rows))
    assert isinstance(view, Versions) and isinstance(other, Versions) and isinstance(made.views["text"], Features)
    values = [one.take(every)["pooled"] for one in view.versions]
    assert all(torch.equal(a, b.take(every)["pooled"]) for a, b in zip(values, other.versions[:3], strict=True))
    plain = fresh(model, "image", pairs).pooled
    assert all(not torch.allclose(a, b, rtol=0.01) for a, b in ((values[0], values[1]), (values[0], plain)))
    assert made.applied == (augment,) and pairs.applied == ()
    batch = made.drawn(5).batch(every[:7], np.array([0, 1]))
    assert torch.equal(batch.inputs["image"]["pooled"], view.drawn(5).take(every[:7])["pooled"])
    assert pairs.drawn(5).views == pairs.views


def test_augmentations_want_transforms(rows: Dataset):
    model = model_of(rows)
    with pytest.raises(ValueError, match="2 augmentations are asked for, but no transforms"):
        with_frozen_features(model, prepare(rows, model.processors), augmentations=2)


def test_a_tower_that_is_trained_is_left_alone(rows: Dataset):
    model = model_of(rows, freeze="text")
    pairs = prepare(rows, model.processors)
    stored = with_frozen_features(model, pairs, transforms=[RandomAffine(flip=0.5)], augmentations=2)
    assert stored.views["image"] is pairs.views["image"] and isinstance(stored.views["text"], Features)
    assert stored.applied == ()


def test_every_part_keeps_its_mode(rows: Dataset, tmp_path: Path):
    model = model_of(rows)
    model.towers["text"].eval()
    model.towers["image"].add_module("norm", nn.BatchNorm1d(2).eval())
    before = [part.training for part in model.modules()]
    pairs = with_frozen_features(model, prepare(rows.select(range(4)), model.processors))
    embed(model, "image", pairs.views["image"])
    save(model, tmp_path / "model", reference=reference_inputs(model))
    assert [part.training for part in model.modules()] == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [part.training for part in model.modules()] == before


def test_the_store_lies_in_the_cache(rows: Dataset, empty_cache: Path):
    model = model_of(rows)
    with_frozen_features(model, prepare(rows, model.processors))
    files = {path.suffix for path in (cache_root() / "features").rglob("*") if path.is_file()}
    assert files == {".npy", ".json"} and empty_cache in (cache_root(), *cache_root().parents)
