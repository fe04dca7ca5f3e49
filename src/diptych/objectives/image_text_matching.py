"""Image-text matching: does this text belong to that image, yes or no, asked of true pairs and of hard wrong ones?

    loss = sum over texts i    -log p(i, partner of i) - log(1 - p(i, j_i))      p = sigmoid(matching score)
         + sum over images k   -log(1 - p(m_k, k))

For each text one wrong image j, and for each image one wrong text m, are drawn from the batch with probability
softmax(sharpness * score of the dual encoder): the more alike, the likelier. Rows that share a key are never wrong.
It trains a scorer that reads both sides together (`Matching`), which is too slow to see every pair; use it beside the
`InfoNCE` that trains the dual encoder, so that what is drawn gets harder as that learns. No gradient goes into the
drawing.

Drawn at sharpness 1 by a calibrated dual encoder, wrong rows score as true ones do: what that encoder knows is no help,
and a scorer that does not yet know more learns nothing. One that starts from nothing wants less.

Source: Li et al. 2021 (ALBEF), arXiv 2107.07651, section 3.2. With a softmax of two logits in place of the sigmoid,
which is the same function of their difference; the mean is over all pairs asked, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding
from diptych.core.objective import Example, Needs, Objective, example_keys
from diptych.core.pairing import Pairing
from diptych.encoders.fusion import FusionEncoder
from diptych.scoring.dot import Dot
from diptych.scoring.matching import Matching


class ImageTextMatching(Objective):
    """Binary cross-entropy of a matching scorer over true pairs and hard negatives.

    Args:
        scorer: the part that is trained; its `pairs` are logits.
        dual: the part that says how alike rows are, by which negatives are drawn.
        image, text: the views.
        sharpness: times the dual encoder's scores before the drawing: 1 is the paper's, 0 draws uniformly.

    The mean is over the pairs: two a text and one an image. A text without an image of its own row has no true pair,
    and what has no wrong one in the batch has no negative; both count 0.
    """

    def __init__(
        self,
        scorer: str = "matching",
        *,
        dual: str = "dot",
        image: str = "image",
        text: str = "text",
        sharpness: float = 1.0,
    ) -> None:
        super().__init__()
        if sharpness < 0:
            raise ValueError(f"sharpness is {sharpness}; it must be at least 0, which draws uniformly")
        self.sharpness = sharpness
        self.scorer, self.dual, self.image, self.text = scorer, dual, image, text
        self.name = f"image_text_matching/{image}-{text}/{scorer}"

    @property
    def needs(self) -> Needs:
        return Needs(views=frozenset({self.image, self.text}), parts=frozenset({self.scorer, self.dual}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size(self.image) + 2 * batch.size(self.text)))

    def forward(self, pairing: Pairing) -> Tensor:
        partner = pairing.partner(self.text, self.image)
        wrong_image = self._drawn(pairing, self.text, self.image)
        wrong_text = self._drawn(pairing, self.image, self.text)
        texts, images = _numbers(pairing.rows[self.text], partner), _numbers(pairing.rows[self.image], wrong_text)
        asked = [(texts, partner), (texts, wrong_image), (wrong_text, images)]
        text = torch.cat([i[(i >= 0) & (j >= 0)] for i, j in asked])
        image = torch.cat([j[(i >= 0) & (j >= 0)] for i, j in asked])
        logits = pairing.parts[self.scorer].pairs(  # type: ignore[operator]
            pairing.all[self.text][text], pairing.all[self.image][image]
        )
        is_true = torch.arange(len(text), device=text.device) < (partner >= 0).sum()
        return F.binary_cross_entropy_with_logits(logits, is_true.to(logits.dtype), reduction="sum")

    @torch.no_grad()
    def _drawn(self, pairing: Pairing, a: str, b: str) -> Tensor:
        """`[n]`: for each anchor of `a` a row of `b` with which it shares no key, drawn by likeness; -1 for none.

        The largest of score + Gumbel noise is a draw from the softmax of the scores (Gumbel 1954).
        """
        positives = pairing.positives(a, b)
        if not positives.shape[1]:
            return positives.new_full((len(positives),), -1, dtype=torch.long)
        scores = pairing.parts[self.dual](pairing.mine(a), pairing.all[b])
        noisy = self.sharpness * scores - torch.log(-torch.log(pairing.uniform(a, b)))
        drawn = noisy.masked_fill(positives, -torch.inf).argmax(1)
        return torch.where(positives.all(1), -1, drawn)

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        generator = torch.Generator().manual_seed(0)

        def embedding(view: str, length: int, grid: tuple[int, ...] | None) -> Embedding:
            n = len(items[view])
            dense, tokens = (torch.randn(*shape, 6, generator=generator) for shape in ((n,), (n, length)))
            real = torch.arange(length) < torch.randint(1, length + 1, (n, 1), generator=generator)
            mask = real if grid is None else torch.ones(n, length, dtype=torch.bool)
            return Embedding({"dense": F.normalize(dense, dim=-1)}, F.normalize(tokens, dim=-1), mask, grid)

        embeddings = {"image": embedding("image", 4, (2, 2)), "text": embedding("text", 5, None)}
        parts: dict[str, nn.Module] = {
            "dot": Dot(5.0),
            "matching": Matching(FusionEncoder(6, width=8, depth=2, heads=2), batch=7),
        }
        return Example(cls(), parts, embeddings, keys, items)


def _numbers(rows: slice, like: Tensor) -> Tensor:
    """The numbers of some rows, on the device of `like`."""
    return torch.arange(rows.start, rows.stop, device=like.device)
