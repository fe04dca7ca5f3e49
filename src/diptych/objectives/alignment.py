"""Alignment: a row and its positives should be one point.

    loss = sum_i  1/|P(i)| sum_{j in P(i)}  ||x_i - y_j||^2

over the rows i of one view, P(i) being the rows of the other that share a key with i; vectors are of unit length. By
itself it is least where all rows are one point, so it goes beside a contrast, or beside `Uniformity`. InfoNCE asks only
that positives be nearer than others; this asks that they be near.

Source: Wang & Isola 2020, arXiv 2005.10242 (their alpha is 2); across views, Fahim et al. 2024, arXiv 2405.18570.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing


class Alignment(Objective):
    """Mean squared distance of dense vectors to those of their positives.

    Args:
        a, b: the two views; the mean is over the rows of `a`, those without a positive counting 0.
    """

    def __init__(self, a: str = "image", b: str = "text") -> None:
        super().__init__()
        if a == b:
            raise ValueError(f"Alignment compares two views; got {a!r} twice; a second could be '{a}@strong'")
        self.a, self.b = a, b
        self.name = f"alignment/{a}-{b}"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({self.a, self.b}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.a)))

    def forward(self, pairing: Pairing) -> Tensor:
        mine, others = pairing.mine(self.a).dense, pairing.all[self.b].dense
        positives = pairing.positives(self.a, self.b)
        row, column = positives.nonzero(as_tuple=True)  # few: no [n, N] of distances
        apart = (mine[row] - others[column]).square().sum(1)
        return (apart / positives.sum(1)[row]).sum()

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        embeddings = example_embeddings(items)
        return Example(cls(), {}, embeddings, keys, items)
