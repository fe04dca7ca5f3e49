"""The sigmoid loss of SigLIP: every pair of an image and a text is a question of its own, match or not.

    loss = - sum_i sum_j  log sigmoid(z(i, j) * s(i, j)),    z = +1 where i and j share a key, else -1

over the rows i of the first view and all rows j of the second, divided by the number of rows i. Nothing is normalised
over the batch, so it does with smaller batches than InfoNCE. Negatives are N times as many as positives: the scorer
needs a learned bias that starts low, `Dot(10, bias=-10, max_scale=1000)`, or the first steps only undo the imbalance.
A row without a positive is a row of negatives and counts. With several texts an image all of them are its positives.
Where the scorer is a plain `Dot`, no more than a block of the N_a x N_b scores is ever held.

Source: Zhai et al. 2023, arXiv 2303.15343, section 3.2 and algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing
from diptych.objectives import fused
from diptych.scoring.dot import Dot


class Sigmoid(Objective):
    """Binary cross-entropy of every pair of rows of two views.

    Args:
        a, b: the two views; the mean is over the rows of `a`.
        scorer: the part that scores them; one with a bias.
    """

    def __init__(self, a: str = "image", b: str = "text", *, scorer: str = "dot") -> None:
        super().__init__()
        if a == b:
            raise ValueError(f"Sigmoid compares two views; got {a!r} twice; a second could be '{a}@strong'")
        self.a, self.b, self.scorer = a, b, scorer
        self.name = f"sigmoid/{a}-{b}/{scorer}"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({self.a, self.b}), parts=frozenset({self.scorer}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.a)))

    def forward(self, pairing: Pairing) -> Tensor:
        scorer = pairing.parts[self.scorer]
        if type(scorer) is Dot:
            return fused.sigmoid(pairing, self.a, self.b, scorer)
        scores = scorer(pairing.mine(self.a), pairing.all[self.b])  # [n_a, N_b]
        z = 2 * pairing.positives(self.a, self.b).to(scores.dtype) - 1
        return -F.logsigmoid(z * scores).sum()

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        embeddings = example_embeddings(items)
        parts: dict[str, nn.Module] = {"dot": Dot(10.0, bias=-10.0)}
        return Example(cls(), parts, embeddings, keys, items)
