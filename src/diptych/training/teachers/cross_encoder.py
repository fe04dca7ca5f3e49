"""A teacher that reads both sides of a pair together: exact, but too slow to score every pair of a batch.

So it scores, for each anchor, its positives and a few other rows: half of those are the hardest by the
student's own scores, from which there is most to learn, the rest are drawn at random, so that the student
also hears of easy ones. Objectives find the scores in `pairing.pair_scores[(a, b)]`.

Sources: Miech et al. 2021, arXiv 2103.16553; Lei et al. 2022 (hard negatives picked by the dual encoder),
arXiv 2203.05465.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from diptych.core.model import Model
from diptych.core.pairing import Pairing
from diptych.core.teacher import Teacher
from diptych.training.teachers.encoding import ROWS, content_order


class CrossEncoder(Teacher):
    """Scores of chosen pairs.

    Args:
        encoder: called with the inputs of n rows of each view, gives `[n]` scores, higher for a better fit.
        a: the anchors' view.
        b: the other view.
        others: rows scored of each anchor besides its positives.
        positives: most positives scored of each anchor.
        scorer: the student's part that says which rows are hard.

    Of more positives than `positives`, some are drawn. The choice is the same however the batch is ordered or split.
    """

    def __init__(
        self,
        encoder: nn.Module,
        a: str = "text",
        b: str = "image",
        *,
        others: int = 15,
        positives: int = 5,
        scorer: str = "dot",
    ) -> None:
        super().__init__()
        if others < 0 or positives < 0 or others + positives < 2:
            raise ValueError(f"others is {others} and positives {positives}; together they must be at least 2")
        self.encoder = encoder.requires_grad_(False).eval()
        self.a, self.b, self.others, self.positives, self.scorer = a, b, others, positives, scorer
        self.pairs = (a, b)

    def begin(self, model: Model) -> None:
        """Go where the student is."""
        self.to(next(model.parameters()).device)

    @torch.no_grad()
    def candidates(self, pairing: Pairing) -> Tensor:
        """`[n, positives + others]` rows of the other view: first positives, then others, each padded with -1.

        Raises:
            ValueError: if the student lacks the part `scorer`.
        """
        if self.scorer not in pairing.parts:
            raise ValueError(
                f"the student has no part {self.scorer!r} to find hard pairs with: {sorted(pairing.parts)}"
            )
        order = content_order(pairing.items[self.b], pairing.keys[self.b])
        # Sums in another order differ in their last digit. Taken in float64 and rounded, equal scores are equal in
        # whatever shape they were multiplied, and the tie goes to the first in content order.
        exact = replace(
            pairing,
            all={view: pairing.all[view].map(Tensor.double) for view in (self.a, self.b)},
            parts={self.scorer: copy.deepcopy(pairing.parts[self.scorer]).double()},
        )
        rows = pairing.rows[self.a]
        chosen = [order.new_zeros(0, self.positives + self.others)]
        for start in range(rows.start, rows.stop, ROWS):
            cut = slice(start, min(start + ROWS, rows.stop))
            chosen.append(self._chosen(replace(exact, rows={**pairing.rows, self.a: cut}), order))
        return torch.cat(chosen)

    def score(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
        """`[n]` float scores of pairs.

        Raises:
            ValueError: if the encoder gives anything but a score a pair.
        """
        self.encoder.eval()
        with torch.no_grad():
            scores = self.encoder(a, b)
        n = len(next(iter(a.values())))
        if scores.shape != (n,):
            raise ValueError(f"the cross-encoder gave {list(scores.shape)} for {n} pairs; expected [{n}]")
        return scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores

    def kept_state(self) -> dict[str, Tensor]:
        """Nothing: it does not change."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to do."""

    def _chosen(self, pairing: Pairing, order: Tensor) -> Tensor:
        """`candidates` of a few anchors. Inside, columns stand in content order, so that the first is the same row."""
        a, b = self.a, self.b
        scores = pairing.parts[self.scorer](pairing.mine(a), pairing.all[b]).float()[:, order]
        noise, positive = pairing.uniform(a, b)[:, order], pairing.positives(a, b)[:, order]
        matched = largest(noise, positive, self.positives)
        hard = largest(scores, ~positive, self.others - self.others // 2)
        easy = largest(noise, ~positive & ~hard, self.others // 2)
        places = torch.cat([numbers(matched, self.positives), numbers(hard | easy, self.others)], 1)
        if not len(order):
            return places
        return torch.where(places >= 0, order[places.clamp(min=0)], -1)


def largest(values: Tensor, allowed: Tensor, count: int) -> Tensor:
    """`[n, N]` bool: in each row the `count` largest values of those allowed; of equal ones the first.

    Example:
        >>> largest(torch.tensor([[2.0, 3.0, 2.0, 9.0]]), torch.tensor([[True, True, True, False]]), 2)
        tensor([[ True,  True, False, False]])
    """
    count = min(count, values.shape[1])
    if count == 0:
        return torch.zeros_like(allowed)
    values = values.masked_fill(~allowed, -torch.inf)
    last = values.topk(count, 1).values[:, -1:]
    above, level = values > last, values == last
    room = count - above.sum(1, keepdim=True)
    return (above | (level & (level.cumsum(1) <= room))) & allowed


def numbers(mask: Tensor, count: int) -> Tensor:
    """`[n, count]`: the places where each row of a mask `[n, N]` is True, at most `count` of them, padded with -1.

    Example:
        >>> numbers(torch.tensor([[False, True, True], [True, False, False]]), 2)
        tensor([[ 1,  2],
                [ 0, -1]])
    """
    slot = torch.where(mask, mask.cumsum(1) - 1, count)  # what is not asked for goes to a slot past the end
    places = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    found = torch.full((len(mask), count + 1), -1, device=mask.device)
    return found.scatter_(1, slot, places)[:, :count]
