"""Dynamic distillation of a cross-encoder: where it is sure the student follows it, where it wavers the labels teach.

    u_i  = H(softmax_j t(i, j)) / log K_i                       how unsure the teacher is, 0 to 1
    loss = sum_i  soft * (1 - u_i)^2 * tau^2 KL(softmax t/tau || softmax s/tau)
                + (1 - soft) * u_i * CE(softmax_j s(i, j), positives of i)

over the anchors i and K_i rows j: the positives of i, and those `hard` of the other rows scored by the teacher that
*it* holds the likeliest. As these change with the student, who chose what the teacher was asked (`CrossEncoder`), so
do the weights. Use it beside `InfoNCE`; `PairDistillation` is the same without ranking and weights.

Source: Rao et al. 2022 (DCD), arXiv 2207.01426, and the authors' code (soft = 0.2, hard = 7 of 15, tau = 1). There
entropies are shared out over the batch, by their sum and a softmax, so that a row's weight depends on which others it
came with; here each is divided by its own largest value. There the student, itself a cross-encoder, takes over scores
by their squared difference and learns labels by a binary loss; a dual encoder's scores are of another kind, so here
both are of the distribution over the candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.objective import Example, Needs, Objective, example_embeddings, example_keys
from diptych.core.pairing import Pairing, PairScores
from diptych.objectives.pair_distillation import log_softmax_among, scored_pairs
from diptych.scoring.dot import Dot


class DynamicDistillation(Objective):
    """Distillation over the pairs that the teacher ranks hardest, weighted by how sure it is.

    Args:
        a: the anchors' view.
        b: the other view.
        scorer: the student's part that scores them.
        hard: rows kept of each anchor besides its positives.
        soft: share of the teacher's word, 0 to 1; the rest is the labels'.
        temperature: divides both scores in the divergence, whose gradients are scaled back by its square.

    The mean is over the rows of `a`. An anchor with fewer than two pairs adds nothing.
    """

    def __init__(
        self,
        a: str = "text",
        b: str = "image",
        *,
        scorer: str = "dot",
        hard: int = 7,
        soft: float = 0.2,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if hard < 1:
            raise ValueError(f"hard is {hard}; it must be at least 1")
        if not 0 <= soft <= 1:
            raise ValueError(f"soft is {soft}; expected 0 <= soft <= 1")
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0")
        self.a, self.b, self.scorer = a, b, scorer
        self.hard, self.soft, self.temperature = hard, soft, temperature
        self.name = f"dynamic_distillation/{a}-{b}/{scorer}"

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
        if not len(pairing.all[self.b]) or not k:
            return scored.scores.new_zeros(())
        column = scored.index.clamp(min=0)
        is_true = pairing.positives(self.a, self.b).gather(1, column) & (scored.index >= 0)
        kept = is_true | _largest(scored.scores, (scored.index >= 0) & ~is_true, self.hard)
        kept &= kept.sum(1, keepdim=True) > 1
        rows, place = kept.nonzero(as_tuple=True)
        pairs = pairing.parts[self.scorer].pairs(  # type: ignore[operator]
            pairing.mine(self.a)[rows], pairing.all[self.b][scored.index[rows, place]]
        )
        ours = pairs.new_zeros(n, k).index_put((rows, place), pairs)
        theirs = scored.scores.to(ours)
        unsure = uncertainty(theirs, kept)
        tau = self.temperature
        wanted, found = log_softmax_among(theirs / tau, kept), log_softmax_among(ours / tau, kept)
        follow = tau**2 * F.kl_div(found, wanted, reduction="none", log_target=True).masked_fill(~kept, 0).sum(1)
        right = is_true & kept
        learn = -(log_softmax_among(ours, kept).masked_fill(~right, 0).sum(1) / right.sum(1).clamp(min=1))
        return (self.soft * (1 - unsure) ** 2 * follow + (1 - self.soft) * unsure * learn).sum()

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        generator = torch.Generator().manual_seed(0)
        embeddings = example_embeddings(items, generator)
        texts, images = len(items["text"]), len(items["image"])
        index = torch.stack([torch.randperm(images, generator=generator)[:6] for _ in range(texts)])
        index[:, 0] = items["text"]  # the partner, once
        index[:, 1:] = torch.where(index[:, 1:] == index[:, :1], -1, index[:, 1:])
        index[3, 2:], index[7] = -1, -1
        scores = 2 * torch.randn(texts, 6, generator=generator)
        pair_scores = {("text", "image"): PairScores(index, scores)}
        return Example(cls(hard=3), {"dot": Dot(10.0)}, embeddings, keys, items, pair_scores=pair_scores)


def uncertainty(scores: Tensor, among: Tensor) -> Tensor:
    """The entropy of each row's softmax, as a share of the largest that it could have.

    Args:
        scores: `[n, K]`.
        among: `[n, K]` bool, which of them.

    Returns:
        `[n]`, 0 to 1; 0 where fewer than two are among them.

    Example:
        >>> among = torch.tensor([[True, True, False], [True, True, True]])
        >>> uncertainty(torch.tensor([[1.0, 1.0, 9.0], [500.0, 0.0, 0.0]]), among)
        tensor([1., 0.])
    """
    log = log_softmax_among(scores, among)
    entropy = (log.exp() * -log).masked_fill(~among, 0).sum(1)
    return entropy / among.sum(1).clamp(min=2).to(entropy.dtype).log()


def _largest(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """`[n, K]` bool: in each row the `count` largest of the values allowed."""
    first = values.masked_fill(~allowed, -torch.inf).topk(min(count, values.shape[1]), 1).indices
    return torch.zeros_like(allowed).scatter(1, first, True) & allowed
