"""Uniformity: rows should be spread over the whole sphere, of one view or of two against each other.

    loss = log mean_{i, j not sharing a key}  exp(-t ||x_i - y_j||^2)

x being the vectors of one view and y those of the same or of another; the mean is over pairs of rows, so each anchor
row answers for its share of one number, and all see the whole batch. It is 0 where all are one point and about -2 t on
a sphere evenly filled. Beside InfoNCE, whose two towers end in two cones with room between, it closes that gap:
`Uniformity("image")` and `Uniformity("text")` fill the sphere with either, `Uniformity("image", "text")` keeps those
that do not match apart. Rows that share a key are no pair.

Cost: a matrix of N_a x N_b for every cut of the rows; use few cuts.

Source: Wang & Isola 2020, arXiv 2005.10242 (t = 2); across views, Fahim et al. 2024, arXiv 2405.18570.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing, share_a_key


class Uniformity(Objective):
    """The logarithm of the mean Gaussian potential of dense vectors.

    Args:
        a: of which view.
        b: against which; the same if None.
        t: how near is near; above 0.

    The mean is over the rows of `a`, each of which has the same value. Where no two rows are without a common key it
    is 0.
    """

    def __init__(self, a: str = "image", b: str | None = None, *, t: float = 2.0) -> None:
        super().__init__()
        if t <= 0:
            raise ValueError(f"t is {t}; it must be above 0")
        self.a, self.b, self.t = a, b, t
        self.name = f"uniformity/{a}" + (f"-{b}" if b else "")

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({self.a, self.b or self.a}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.a)))

    def forward(self, pairing: Pairing) -> Tensor:
        a, b = self.a, self.b or self.a
        x, y = pairing.all[a].dense, pairing.all[b].dense
        apart = ~share_a_key(pairing.keys[a], pairing.keys[b])
        if self.b is None:
            apart.fill_diagonal_(False)  # of rows without a key too
        rows = len(pairing.mine(a))
        if not apart.any():
            return 0 * (x.sum() + y.sum())
        potential = (-2 * self.t * (1 - x @ y.T)).masked_fill(~apart, -torch.inf)  # of unit vectors
        return rows * (torch.logsumexp(potential.flatten(), 0) - math.log(int(apart.sum())))

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        embeddings = example_embeddings(items)
        return Example(cls("image", "text"), {}, embeddings, keys, items)
