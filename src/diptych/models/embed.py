"""Embed every row of a view: the one way that evaluation and indexing get their vectors.

Towers that are not trained run once an item: their features are kept on disk under a hash of the tower, of its
weights and of what it read, and whoever asks for the same picture or text again, from whatever collection, gets them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.configuration import describe
from diptych.core.embedding import Embedding
from diptych.core.embedding import Features as Said
from diptych.core.model import Model, is_frozen
from diptych.data.cache import cache_root
from diptych.data.features import FeatureStore, ShardWriter
from diptych.data.items import item_hashes
from diptych.data.pairs import Pairs
from diptych.data.store import hash_of
from diptych.data.transforms import Transform
from diptych.data.versions import Augmented, Drawn, Version, Versions
from diptych.data.views import Features, View
from diptych.models.modes import evaluating

Progress = Callable[[str, int, int], None]


def embed(
    model: Model,
    view: str,
    rows: View,
    *,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Embedding:
    """The embeddings of all rows of a view, in their order, on the CPU, in float32.

    Args:
        model: in eval mode for the duration.
        view: e.g. `"image"`.
        rows: gives the inputs.
        batch_size: rows at a time; sequences of like length go together, so that little padding is computed.
        progress: called with (view, rows done, rows in all).

    Raises:
        ValueError: if there are no rows.
    """
    order = by_length(rows)
    if not len(order):
        raise ValueError(f"view {view!r} has no rows to embed")
    parts = []
    with evaluating(model), torch.no_grad():
        for cut in _cuts(view, order, batch_size, progress):
            parts.append(model.encode(view, _moved(rows.take(cut), model)).map(Tensor.float).to("cpu"))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.from_numpy(order)] = torch.arange(len(order))
    return Embedding.cat(parts)[back]


def with_frozen_features(
    model: Model,
    pairs: Pairs,
    *,
    only: Collection[str] = ("image", "text"),
    tokens: Collection[str] = (),
    transforms: Sequence[Transform] = (),
    augmentations: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pairs:
    """The same pairs with the views of frozen towers, of those in `only`, replaced by their stored features.

    Args:
        model: its towers run, on its device, for items that nobody has asked for yet.
        pairs: prepared with the model's processors.
        only: names of views.
        tokens: views of which tokens are wanted too, besides those whose tower has a head `"tokens"`.
        transforms: what augments a picture; they act on each picture alone.
        augmentations: how many augmented versions of each picture to store instead of the picture as it is;
            `pairs.drawn(seed)` then draws one of each row. 0 stores the picture as it is.
        seed: of the augmentations.
        progress: called with (view, rows done, rows in all).

    Raises:
        ValueError: if there are augmentations but nothing to augment by, or tokens of a tower that has none.
        OSError: if the disk is full; what was written so far is kept.
        diptych.data.features.DamagedFeatures: if stored features are not as they were written.
    """
    if augmentations and not transforms:
        raise ValueError(f"{augmentations} augmentations are asked for, but no transforms to make them by")
    views = dict(pairs.views)
    for name in (one for one in model.towers if one in views and one in only):
        give = partial(frozen_features, model, name, views[name], tokens=name in tokens, progress=progress)
        if augmentations and name == "image" and _is_to_store(model, name, views[name]):
            versions = [Version(tuple(transforms), number, seed) for number in range(augmentations)]
            views[name] = Versions([give(version=version) for version in versions], transforms)
        else:
            views[name] = give()
    return replace(pairs, views=views)


def frozen_features(
    model: Model,
    view: str,
    rows: View,
    *,
    tokens: bool = False,
    version: Version | None = None,
    progress: Progress | None = None,
) -> View:
    """The stored features of a view's rows where its tower is frozen, else the rows themselves.

    Args:
        tokens: store and give tokens even if the tower has no head `"tokens"`.

    The other arguments are those of `stored_features`.
    """
    if not _is_to_store(model, view, rows):
        return rows
    wanted = tokens or "tokens" in model.heads[model.route(view).tower]  # type: ignore[operator]
    return stored_features(model, view, rows, tokens=wanted, version=version, progress=progress)


def _is_to_store(model: Model, view: str, rows: View) -> bool:
    is_stored = isinstance(rows, Features | Versions | Drawn)
    return is_frozen(model.towers[model.route(view).tower]) and not is_stored


def stored_features(
    model: Model,
    view: str,
    rows: View,
    *,
    tokens: bool = False,
    version: Version | None = None,
    progress: Progress | None = None,
) -> Features:
    """A tower's features of all rows: read from the store, and computed for the items that it lacks.

    The tower computes in float32, so that the store is the same whichever machine filled it; it keeps bf16.

    Args:
        model: in eval mode while it computes.
        view: which says the tower.
        rows: gives the inputs.
        tokens: of the tower too; pooled features are always there.
        version: of the rows, if they are to be augmented first.
        progress: called with (view, rows done, rows in all) while it hashes, and again while it computes.

    Raises:
        ValueError, OSError, diptych.data.features.DamagedFeatures: as `with_frozen_features`.
    """
    tower = model.towers[model.route(view).tower]
    key = hash_of("features", describe(tower), weights_hash(tower), describe(version))
    folders = {kind: cache_root() / "features" / key / kind for kind in ("pooled", "tokens")[: 1 + tokens]}
    items = item_hashes(rows, progress=lambda done, total: progress(view, done, total) if progress else None)
    stores = {kind: FeatureStore(folder) for kind, folder in folders.items()}
    first = np.unique(items, return_index=True)[1]
    missing = {kind: np.zeros(len(items), bool) for kind in stores}
    for kind, store in stores.items():  # of equal rows the first is computed
        missing[kind][first[store.find(items[first]) < 0]] = True
    order = by_length(rows)
    order = order[np.logical_or.reduce([lacks[order] for lacks in missing.values()])]
    if len(order):
        source = rows if version is None else Augmented(rows, view, items, version)
        with ExitStack() as stack, evaluating(model), torch.no_grad():
            writers = {kind: stack.enter_context(ShardWriter(folder)) for kind, folder in folders.items()}
            for cut in _cuts(view, order, 64, progress):
                said = model.features(view, _moved(source.take(cut), model))
                for kind, writer in writers.items():
                    lacks = missing[kind][cut]
                    _keep(writer, items[cut[lacks]], said, torch.from_numpy(lacks), kind)
        stores = {kind: FeatureStore(folder) for kind, folder in folders.items()}
    return Features(items, **stores)


def _keep(writer: ShardWriter, items: np.ndarray, said: Said, rows: Tensor, kind: str) -> None:
    """Give a writer what a tower said of some rows of a batch: `pooled`, or `tokens` without their padding."""
    if kind == "pooled":
        writer.add(items, said.pooled.cpu()[rows], np.ones(len(items), np.int64))
        return
    if said.tokens is None:
        raise ValueError(
            "tokens are wanted of a frozen tower that gives none; give it a head that reads the pooled features"
        )
    tokens = said.tokens.cpu()[rows]
    mask = tokens.new_ones(tokens.shape[:2]).bool() if said.mask is None else said.mask.cpu()[rows]
    writer.add(items, tokens[mask], mask.sum(1).numpy(), grid=said.grid or ())


def weights_hash(module: nn.Module) -> str:
    """A hash of a module's weights."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def by_length(rows: View) -> np.ndarray:
    """An order of the rows in which token sequences of like length are neighbours."""
    lengths = getattr(rows, "lengths", None)
    return np.arange(len(rows)) if lengths is None else np.argsort(-lengths, kind="stable")


def _cuts(view: str, order: np.ndarray, size: int, progress: Progress | None) -> Iterator[np.ndarray]:
    """The order in pieces; telling how far it is."""
    for start in range(0, len(order), size):
        yield order[start : start + size]
        if progress:
            progress(view, min(start + size, len(order)), len(order))


def _moved(inputs: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Inputs on the model's device."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in inputs.items()}
