"""Embed every row of a view: the one way that evaluation and indexing get their vectors.

Towers that are not trained are run once: their pooled features are kept on disk, under a hash of the
tower, of its weights and of the inputs it read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.configuration import describe
from diptych.core.embedding import Embedding
from diptych.core.model import Model, is_frozen
from diptych.data.pairs import Pairs
from diptych.data.store import Chunk, hash_of, stored
from diptych.data.views import Arrays, View

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
    parts = []
    for inputs, _ in _batches(model, view, rows, order, batch_size, progress):
        with torch.no_grad():
            parts.append(model.encode(view, inputs).map(Tensor.float).to("cpu"))
    if not parts:
        raise ValueError(f"view {view!r} has no rows to embed")
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.from_numpy(order)] = torch.arange(len(order))
    return Embedding.cat(parts)[back]


def with_frozen_features(
    model: Model, pairs: Pairs, *, only: Collection[str] = ("image", "text"), progress: Progress | None = None
) -> Pairs:
    """The same pairs with the views of frozen towers, of those in `only`, replaced by their stored pooled features."""
    views = dict(pairs.views)
    for name, tower in model.towers.items():
        if name in views and name in only and is_frozen(tower) and "tokens" not in model.heads[name]:  # type: ignore[operator]
            views[name] = stored_features(model, name, views[name], progress=progress)
    return replace(pairs, views=views)


def stored_features(model: Model, view: str, rows: View, *, progress: Progress | None = None) -> Arrays:
    """A tower's pooled features of all rows, from the store or computed now: `{"pooled": [N, D] float32}`."""
    tower = model.towers[view]
    order = by_length(rows)
    content = hashlib.blake2b(digest_size=16)
    for start in range(0, len(rows), 1024):
        for name, tensor in sorted(rows.take(np.arange(start, min(start + 1024, len(rows)))).items()):
            content.update(name.encode() + tensor.numpy().tobytes())

    def fill() -> Iterator[Chunk]:
        for inputs, cut in _batches(model, view, rows, order, 64, progress):
            with torch.no_grad():
                yield cut, {"pooled": model.features(view, inputs).pooled.float().cpu().numpy()}

    key = hash_of("features", describe(tower), weights_hash(tower), content.hexdigest())
    kept = stored(key, len(rows), {"pooled": ((int(tower.width),), "float32")}, fill, lambda: None)  # type: ignore[arg-type]
    return Arrays(kept.arrays)


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


def _batches(
    model: Model, view: str, rows: View, order: np.ndarray, size: int, progress: Progress | None
) -> Iterator[tuple[dict[str, Tensor], np.ndarray]]:
    """Inputs on the model's device, and the numbers of their rows, with the model in eval mode."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), size):
            cut = order[start : start + size]
            yield {name: tensor.to(device) for name, tensor in rows.take(cut).items()}, cut
            if progress:
                progress(view, min(start + size, len(order)), len(order))
    finally:
        model.train(was_training)
