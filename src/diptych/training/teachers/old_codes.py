"""Codes that were given long ago, and stay: a teacher that knows old items' codes and labels, and nothing of new ones.

Items that are indexed already keep their codes while the model goes on learning on new items alone. An objective such
as `AnchoredCodes` pulls the new codes to the old ones that they should be near. The old items' pictures and texts are
not needed: only their codes, packed, and their labels. Both lie in one file, which `save_codes` writes.

Source: Xu et al. 2023 (DLCH), arXiv 2304.13357.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.core.pairing import Pairing
from diptych.core.teacher import Teacher
from diptych.encoders.hashing import pack, unpack


class OldCodes(Teacher):
    """Remembers the codes of old items of each view, in the space `"code"`, with their labels, in `"labels"`.

    Of the batch's own rows it says zeros in both, for it does not know them. All old rows are shown at every step: a
    million codes of 64 bits take 256 MB besides their labels, a sample of them does as well.

    Args:
        file: as `save_codes` wrote it; read when the phase begins.
    """

    def __init__(self, file: str | Path) -> None:
        super().__init__()
        self.file = file
        self.memory: dict[str, Embedding] = {}

    def begin(self, model: Model) -> None:
        """Read the file, and go where the student is.

        Raises:
            ValueError: if there is no such file, or it holds no codes.
        """
        try:
            held = load_file(self.file)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"no old codes in {str(self.file)!r} ({error}); write them with `save_codes`") from error
        device = next(model.parameters()).device
        views = sorted({name.partition("/")[0] for name in held})
        if any(f"{view}/{what}" not in held for view in views for what in ("code", "labels")):
            raise ValueError(f"{str(self.file)!r} holds {sorted(held)}; expected code and labels, as of `save_codes`")
        dtype = torch.get_default_dtype()
        self.memory = {
            view: Embedding(
                {"code": unpack(held[f"{view}/code"]).to(dtype), "labels": held[f"{view}/labels"].to(dtype)}
            ).to(device)
            for view in views
        }

    def forward(self, batch: Batch, views: frozenset[str]) -> Pairing:
        """Rows of zeros for the batch, and after them the old ones.

        Raises:
            ValueError: if a view has no old codes.
        """
        missing = sorted(views - set(self.memory))
        if missing:
            raise ValueError(f"{str(self.file)!r} has no codes of the views {missing}; it has {sorted(self.memory)}")
        every, keys, items = {}, {}, {}
        for view in sorted(views):
            old, now = self.memory[view], batch.size(view)
            blank = Embedding({space: x.new_zeros(now, x.shape[1]) for space, x in old.vectors.items()})
            every[view] = Embedding.cat([blank, old])
            none = batch.items[view].new_full((len(old),), -1)
            keys[view] = torch.cat([batch.keys[view], none[:, None].expand(-1, batch.keys[view].shape[1])])
            items[view] = torch.cat([batch.items[view], none])
        return Pairing(every, {view: slice(0, batch.size(view)) for view in views}, keys, items, {})

    def kept_state(self) -> dict[str, Tensor]:
        """Nothing: the file has it all."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to do."""


def save_codes(file: str | Path, codes: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
    """Write codes and labels for `OldCodes`, one bit a bit and one byte a label.

    Args:
        file: to write.
        codes: view -> `[N, bits]`, -1 and +1, as a `HashHead` gives them in eval mode.
        labels: view -> `[N, L]`, 1 where a row has a label, else 0: the same L labels in the same order for all views.

    Raises:
        ValueError: if views or rows differ.
    """
    if codes.keys() != labels.keys() or any(len(codes[view]) != len(labels[view]) for view in codes):
        found = (
            {view: tuple(x.shape) for view, x in codes.items()},
            {view: tuple(x.shape) for view, x in labels.items()},
        )
        raise ValueError(f"codes {found[0]} and labels {found[1]}: expected the same views, and rows, of both")
    held = {f"{view}/code": pack(x).cpu().contiguous() for view, x in codes.items()}
    held |= {f"{view}/labels": x.cpu().to(torch.uint8).contiguous() for view, x in labels.items()}
    save_file(held, file)
