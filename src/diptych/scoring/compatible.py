"""A new model's vectors compared in an old model's space: what the old one embedded need not be embedded again.

    score(a, b) = scale * <phi(a), phi(b)>,    against old vectors g:  scale * <phi(a), g>

with one projection phi for all views, from the new model's unit vectors to unit vectors of the old width. As a scorer
it compares new with new, which trains phi; `project` gives what an index of old vectors is asked with. The new model's
own vectors are not changed, and serve as before.

Source: Jang and Lim 2024 (XBT), arXiv 2405.14715.
"""

from __future__ import annotations

from torch import Tensor

from diptych.core.embedding import Embedding, Features
from diptych.core.scorer import Scorer
from diptych.encoders.heads import Projection
from diptych.scoring.dot import Dot


class Compatible(Scorer):
    """Cosine similarity in the old model's space, scaled.

    Args:
        width: of the new model's space `"dense"`.
        old_width: of the old model's.
        hidden: width of the projection's MLP; 0 for a linear map.
        scale: where the learned scale (1 / temperature) starts.
    """

    def __init__(self, width: int, old_width: int, *, hidden: int = 0, scale: float = 1 / 0.07) -> None:
        super().__init__()
        self.width, self.old_width, self.hidden, self.scale = width, old_width, hidden, scale
        self.projection = Projection(width, old_width, hidden=hidden, layer_norm=False)
        self.dot = Dot(scale)

    def project(self, new: Embedding) -> Embedding:
        """The new model's vectors in the old model's space: `[N, width]` to `[N, old_width]`, each of length 1."""
        return Embedding({"dense": self.projection(Features(new.dense))})

    def against_old(self, queries: Embedding, gallery: Embedding) -> Tensor:
        """Score every query of the new model against every row that the old model embedded: `[Q, N]`."""
        return self.dot(self.project(queries), gallery)

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self.dot(self.project(queries), self.project(gallery))

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.dot.pairs(self.project(a), self.project(b))
