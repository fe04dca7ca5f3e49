"""InfoNCE: every row should pick its positives out of the whole batch, both ways.

    loss = - sum_i  1/|P(i)| sum_{j in P(i)}  log softmax_j s(i, j)

over the rows i of both views, P(i) being all rows of the other view that share a key with i. With one
positive a row this is CLIP's loss; with several it is the multi-positive form with a uniform target.
Rows of the batch without a positive count for nothing in the sum. Use it first; it wants large batches.
Where the scorer is a plain `Dot`, no more than a block of the N_a x N_b scores is ever held; others hold all of them,
or as many rows as a step is told to take at a time.

Sources: van den Oord et al. 2018, arXiv 1807.03748; Radford et al. 2021, arXiv 2103.00020;
several positives as in Khosla et al. 2020, arXiv 2004.11362 (their L_out).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing
from diptych.objectives import fused
from diptych.scoring.dot import Dot


class InfoNCE(Objective):
    """Symmetric cross-entropy over the scores of two views.

    Args:
        a, b: the two views.
        scorer: the part that scores them.
        label_smoothing: label smoothing in [0, 1): this share of the target is spread over all rows (ALIGN uses 0.1).

    The mean is over the anchor rows of both views together, `N_a + N_b`; with `N_a = N_b` that is the
    usual average of the two directions.
    """

    def __init__(self, a: str = "image", b: str = "text", *, scorer: str = "dot", label_smoothing: float = 0.0) -> None:
        super().__init__()
        if a == b:
            raise ValueError(f"InfoNCE compares two views; got {a!r} twice; a second could be '{a}@strong'")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 <= label_smoothing < 1")
        self.a, self.b, self.scorer, self.label_smoothing = a, b, scorer, label_smoothing
        self.name = f"infonce/{a}-{b}/{scorer}"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({self.a, self.b}), parts=frozenset({self.scorer}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.a) + batch.size(self.b)))

    def forward(self, pairing: Pairing) -> Tensor:
        scorer = pairing.parts[self.scorer]
        if type(scorer) is Dot:
            return fused.infonce(pairing, self.a, self.b, scorer, label_smoothing=self.label_smoothing)
        return self._side(pairing, self.a, self.b) + self._side(pairing, self.b, self.a)

    def _side(self, pairing: Pairing, anchors: str, others: str) -> Tensor:
        scores = pairing.parts[self.scorer](pairing.mine(anchors), pairing.all[others])  # [n, N]
        positives = pairing.positives(anchors, others)
        count = positives.sum(1)
        target = positives / count.clamp(min=1)[:, None].to(scores.dtype)
        if self.label_smoothing:
            target = (1 - self.label_smoothing) * target + self.label_smoothing / max(1, scores.shape[1])
        loss = torch.logsumexp(scores, 1) - (scores * target).sum(1)
        return torch.where(count > 0, loss, 0).sum()  # without any other row the loss is infinite

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        embeddings = example_embeddings(items)
        parts: dict[str, nn.Module] = {"dot": Dot(10.0)}
        return Example(cls(), parts, embeddings, keys, items)
