"""What heads say of rows, gathered in whatever order batches come, and laid out as an archive keeps it.

The layout is told in `diptych.data.archive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core.embedding import Features
from diptych.models.reading import kind_of


class Columns:
    """The vectors of N rows in every space of some heads.

    Args:
        heads: space -> head.
        rows: N.
        dtype: that vectors are kept in.
    """

    def __init__(self, heads: Mapping[str, nn.Module], rows: int, dtype: torch.dtype) -> None:
        self.heads, self.rows, self.dtype = heads, rows, dtype
        self._whole: dict[str, Tensor] = {}
        self._ragged: dict[str, list[tuple[Tensor, ...]]] = {}

    @torch.no_grad()
    def put(self, rows: np.ndarray, features: Features) -> None:
        """Run the heads on the features of some rows, `[n]` their numbers."""
        for space, head in self.heads.items():
            said = head(features).cpu()
            kind = kind_of(head)
            if kind == "lexical":
                own: Sequence[tuple[Tensor, ...]] = [_terms(row, self.dtype) for row in said]
            elif kind == "late":
                kept = said.to(self.dtype)
                real = features.mask
                # A head that makes tokens of its own makes them all real.
                mask = real.cpu() if real is not None and real.shape[1] == kept.shape[1] else None
                own = [(kept[i] if mask is None else kept[i][mask[i]],) for i in range(len(rows))]
            else:
                if kind == "code":
                    said = (said >= 0).float() - 0.5  # before a small number may be rounded to zero
                if space not in self._whole:
                    self._whole[space] = torch.zeros(self.rows, said.shape[1], dtype=self.dtype)
                self._whole[space][torch.from_numpy(rows)] = said.to(self.dtype)
                continue
            places = self._ragged.setdefault(space, [()] * self.rows)
            for row, one in zip(rows.tolist(), own, strict=True):
                places[row] = one

    def tensors(self, view: str, *, width: int) -> dict[str, Tensor]:
        """`"view/space"` -> what an archive keeps of it; every row must have been put.

        Args:
            view: which.
            width: of the tower's pooled features, of which empty ones say how wide vectors are where there are no rows.
        """
        if not self.rows:
            return self._empty(view, width)
        out: dict[str, Tensor] = {}
        for space, head in self.heads.items():
            name, kind = f"{view}/{space}", kind_of(head)
            if space in self._ragged:
                columns = [torch.cat(column) for column in zip(*self._ragged[space], strict=True)]
                out[f"{name}/counts"] = torch.tensor([len(row[0]) for row in self._ragged[space]])
                if kind == "lexical":
                    out[f"{name}/terms"], out[f"{name}/weights"] = columns
                    out[f"{name}/size"] = torch.tensor([int(head.vocab)])  # type: ignore[arg-type]
                else:
                    (out[name],) = columns
            elif space in self._whole:
                whole = self._whole[space]
                if kind == "code":
                    out[f"{name}/size"] = torch.tensor([whole.shape[1]])
                    whole = torch.from_numpy(np.packbits(whole.numpy() >= 0, axis=1))
                out[name] = whole
        return out

    @torch.no_grad()
    def _empty(self, view: str, width: int) -> dict[str, Tensor]:
        """One row of zeros laid out, and cut off again."""
        one = Columns(self.heads, 1, self.dtype)
        for space, head in self.heads.items():
            device = next(iter(head.parameters()), torch.zeros(0)).device
            tokens = torch.zeros(1, 16, int(getattr(head, "features", width)), device=device)
            of_one = Columns({space: head}, 1, self.dtype)
            of_one.put(np.arange(1), Features(torch.zeros(1, width, device=device), tokens, grid=(4, 4)))
            one._whole |= of_one._whole
            one._ragged |= of_one._ragged
        laid = one.tensors(view, width=width)
        return {name: tensor if name.endswith("/size") else tensor[:0] for name, tensor in laid.items()}


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several `Columns`, one below the other."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: parts[0][name] if name.endswith("/size") else torch.cat([part[name] for part in parts]) for name in names
    }


def _terms(row: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    (terms,) = row.nonzero(as_tuple=True)
    return terms.to(torch.int32), row[terms].to(dtype)
