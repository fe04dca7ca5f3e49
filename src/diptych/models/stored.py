"""What a tower said of items, kept on disk under a hash of the tower, its weights, its precision and what it read.

Whoever asks for the same picture or text again, from whatever collection and whichever command, gets it from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.configuration import describe
from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.data.cache import cache_root
from diptych.data.features import FeatureStore, ShardWriter
from diptych.data.store import hash_of
from diptych.data.versions import Version
from diptych.data.views import Ragged, Selected, View
from diptych.models.modes import evaluating
from diptych.models.precision import Chosen, Precision, autocast_for, chosen

KINDS = ("pooled", "tokens")


class TowerStore:
    """The stored features of one tower: `pooled`, and `tokens` where they are wanted.

    Args:
        model: has the tower; in eval mode while it computes.
        view: which says the tower.
        tokens: whether tokens are kept too.
        version: of the rows, if they are augmented first.
        precision: of the tower; "auto" is settled by the first rows that are ever asked for, and then remembered.
        filled: (length, padding id) of sequences that are always filled up: the tower reads the padding, which is no
            part of an item's name.
        first: gives a few rows of inputs to settle it by.

    Raises:
        DamagedFeatures: if stored features are not as they were written.
    """

    def __init__(
        self,
        model: Model,
        view: str,
        *,
        tokens: bool = False,
        version: Version | None = None,
        precision: Precision = "auto",
        filled: tuple[int, int] | None = None,
        first: Callable[[], Mapping[str, Tensor]],
    ) -> None:
        self.model, self.view = model, view
        tower = model.towers[model.route(view).tower]
        self.device = next(tower.parameters()).device
        key = hash_of(
            "features", describe(tower), weights_hash(tower), describe(version), *([filled] if filled else [])
        )
        self.precision: Chosen = self._settled(key, precision, first)
        folder = cache_root() / "features" / (key if self.precision == "float32" else f"{key}-bf16")
        self.folders = {kind: folder / kind for kind in KINDS[: 1 + tokens]}
        self.stores = {kind: FeatureStore(one) for kind, one in self.folders.items()}
        self._writers: dict[str, ShardWriter] = {}

    def _settled(self, key: str, precision: Precision, first: Callable[[], Mapping[str, Tensor]]) -> Chosen:
        """The precision as asked, or as it was or is now chosen for this tower on this kind of device."""
        if precision != "auto":
            return precision
        file = cache_root() / "features" / f"{key}.json"
        said = json.loads(file.read_text()) if file.exists() else {}
        kind = f"{self.device.type} {torch.cuda.get_device_name(self.device) if self.device.type == 'cuda' else _cpu()}"
        if kind not in said:
            said[kind] = chosen(self.model, self.view, self.moved(first()))
            file.parent.mkdir(parents=True, exist_ok=True)
            written = file.with_suffix(f".{os.getpid()}.writing")
            written.write_text(json.dumps(said))
            os.replace(written, file)
        return said[kind]

    def moved(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs on the tower's device."""
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def lacking(self, items: np.ndarray) -> dict[str, np.ndarray]:
        """For each kind `[N]` bool, which items have to be computed; of equal ones the first."""
        first = np.unique(items, return_index=True)[1]
        missing: dict[str, np.ndarray] = {}
        for kind, store in self.stores.items():
            missing[kind] = np.zeros(len(items), bool)
            missing[kind][first[store.find(items[first]) < 0]] = True
        return missing

    @contextmanager
    def filling(self) -> Iterator[None]:
        """What is computed within is written when it is left, however that comes; then all of it can be found."""
        with ExitStack() as stack:
            stack.enter_context(evaluating(self.model))
            self._writers = {kind: stack.enter_context(ShardWriter(folder)) for kind, folder in self.folders.items()}
            yield
        self._writers = {}
        self.stores = {kind: FeatureStore(folder) for kind, folder in self.folders.items()}

    def compute(self, items: np.ndarray, inputs: Mapping[str, Tensor], lacks: Mapping[str, np.ndarray]) -> Tensor:
        """Run the tower on some rows and keep what was lacking; within `filling`.

        Args:
            items: `[n]`, the rows' names.
            inputs: of the rows.
            lacks: for each kind `[n]` bool, what to keep.

        Returns:
            The pooled features `[n, D]`, as the store gives them: of bf16 precision, as float32, on the CPU.
        """
        said = self.said(inputs)
        for kind, writer in self._writers.items():
            _keep(writer, items[lacks[kind]], said, torch.from_numpy(lacks[kind]), kind)
        return said.pooled.to("cpu", torch.bfloat16).float()

    def said(self, inputs: Mapping[str, Tensor]) -> Features:
        """What the tower says of some rows, in its precision, on its device; nothing is kept."""
        with torch.no_grad(), autocast_for(self.device, self.precision)():
            return self.model.features(self.view, self.moved(inputs))


def filled(rows: View) -> tuple[int, int] | None:
    """How a view's sequences are filled up, if they are; see `TowerStore`."""
    if isinstance(rows, Ragged) and rows.fixed_length is not None:
        return rows.fixed_length, rows.pad_id
    return filled(rows.view) if isinstance(rows, Selected) else None


def _cpu() -> str:
    return "with tiles for bf16" if getattr(torch.cpu, "_is_amx_tile_supported", bool)() else "plain"


def _keep(writer: ShardWriter, items: np.ndarray, said: Features, rows: Tensor, kind: str) -> None:
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
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
