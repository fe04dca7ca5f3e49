"""Distillation of a cross-encoder: among the pairs it scored, the student should rank an anchor's rows as it does.

    loss = tau^2 sum_i  KL( softmax_j t(i, j) / tau'  ||  softmax_j s(i, j) / tau )

over the anchors i, and for each over the few rows j that the teacher scored (its positives, hard and random
others; see `CrossEncoder`), with the student's scores s and the teacher's t. A cross-encoder reads both sides of
a pair together and sees what two separate towers miss; the student keeps their speed. Use it beside `InfoNCE`,
once that has taught it the coarse order.

Sources: Lei et al. 2022 (LoopITR), arXiv 2203.05465; Miech et al. 2021, arXiv 2103.16553; a KL over a list of
candidates as in Ren et al. 2021 (RocketQAv2), arXiv 2110.07367.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing, PairScores
from diptych.scoring.dot import Dot


class PairDistillation(Objective):
    """KL divergence of the student's from the teacher's distribution over the pairs that the teacher scored.

    Args:
        a: the anchors' view.
        b: the other view.
        scorer: the student's part that scores them.
        temperature: divides the student's scores, on top of the scorer's own; gradients are scaled back by its square.
        teacher_temperature: divides the teacher's scores; None for the same.

    The mean is over the rows of `a`. An anchor with fewer than two scored pairs adds nothing.
    """

    def __init__(
        self,
        a: str = "text",
        b: str = "image",
        *,
        scorer: str = "dot",
        temperature: float = 1.0,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__()
        if temperature <= 0 or (teacher_temperature is not None and teacher_temperature <= 0):
            raise ValueError(f"temperatures are {temperature} and {teacher_temperature}; both must be above 0")
        self.a, self.b, self.scorer = a, b, scorer
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.name = f"pair_distillation/{a}-{b}/{scorer}"

    @property
    def needs(self) -> Needs:
        return Needs(
            views=frozenset({self.a, self.b}), parts=frozenset({self.scorer}), pairs=frozenset({(self.a, self.b)})
        )

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.a)))

    def forward(self, pairing: Pairing) -> Tensor:
        scored = scored_pairs(pairing, self.a, self.b)
        n, k = scored.index.shape
        if not len(pairing.all[self.b]):
            return scored.scores.new_zeros(())
        rows = torch.arange(n, device=scored.index.device).repeat_interleave(k)
        ours = (
            pairing.parts[self.scorer]
            .pairs(  # type: ignore[operator]
                pairing.mine(self.a)[rows], pairing.all[self.b][scored.index.clamp(min=0).reshape(-1)]
            )
            .view(n, k)
        )
        there = scored.index >= 0
        wanted = log_softmax_among(scored.scores.to(ours) / (self.teacher_temperature or self.temperature), there)
        found = log_softmax_among(ours / self.temperature, there)
        return self.temperature**2 * F.kl_div(found, wanted, reduction="sum", log_target=True)

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        generator = torch.Generator().manual_seed(0)
        embeddings = example_embeddings(items, generator)
        texts, images = len(items["text"]), len(items["image"])
        index = torch.stack([torch.randperm(images, generator=generator)[:4] for _ in range(texts)])
        index[3, 2:], index[7] = -1, -1
        scores = 3 * torch.randn(texts, 4, generator=generator)
        pair_scores = {("text", "image"): PairScores(index, scores)}
        return Example(cls(), {"dot": Dot(10.0)}, embeddings, keys, items, pair_scores=pair_scores)


def scored_pairs(pairing: Pairing, a: str, b: str) -> PairScores:
    """What a teacher said of pairs of two views.

    Raises:
        ValueError: if none said anything of them.
    """
    if (a, b) not in pairing.pair_scores:
        raise ValueError(f"no teacher scored pairs of {(a, b)}; give the phase a CrossEncoder(..., {a!r}, {b!r})")
    return pairing.pair_scores[(a, b)]


def log_softmax_among(scores: Tensor, among: Tensor) -> Tensor:
    """Log-softmax over each row of `[n, K]` scores, of those that are `among` `[n, K]` bool."""
    # The least finite number, not minus infinity: it has probability 0 too, but 0 times its logarithm is 0.
    return F.log_softmax(scores.masked_fill(~among, torch.finfo(scores.dtype).min), 1)
