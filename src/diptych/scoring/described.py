"""Pictures with a description of them: an image's vector and its description's, mixed before they are compared.

    mixed(e) = unit( (1 - weight) * image + weight * description )
    score(q, g) = scale * <mixed(q), mixed(g)>

An embedding whose space `"description"` holds the vector of what a captioner wrote of it is mixed; one without is
taken as it is. So descriptions on the one side only (a picture asks for texts, or for pictures), or on both, are a
matter of what the embeddings hold. Nothing is trained; `weight` is set on queries with known answers. Use it where a
small model's picture vectors miss what a captioner sees.

To rank the best of that again by predicted attributes (ingredients), give both sides a space `"attributes"` with the
vector of their attributes' words: `Cascade(first, Weighted([first, Dot(1.0, space="attributes")], [1, 2]), depth=20)`,
or over an index `search_cascade(index, mixed, by_space(index, attributes, space="attributes"), depth=20)`.

Source: Asokan 2025 (F4-ITS), arXiv 2508.17037: query side ("uni-directional") or both, and a re-ranking by features.

System: 228 (F4-ITS)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class Described(Scorer):
    """Cosine similarity of images mixed with their descriptions.

    Args:
        weight: of the description, 0 to 1.
        space: of the image's vector, and of a plain text's.
        description: of the description's vector, of the same width.
        scale: multiplies the cosine.

    Example:
        >>> import torch
        >>> image = Embedding({"dense": torch.tensor([[1.0, 0.0]]), "description": torch.tensor([[0.0, 1.0]])})
        >>> text = Embedding({"dense": torch.tensor([[0.0, 1.0]])})
        >>> [round(Described(weight)(image, text).item(), 3) for weight in (0.0, 0.5, 1.0)]
        [0.0, 0.707, 1.0]
    """

    def __init__(
        self, weight: float = 0.5, *, space: str = "dense", description: str = "description", scale: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}; expected 0 <= weight <= 1")
        if scale <= 0:
            raise ValueError(f"scale is {scale}; it must be above 0")
        self.weight, self.space, self.description, self.scale = weight, space, description, scale

    def mixed(self, e: Embedding) -> Tensor:
        """Unit vectors `[N, D]`: what an index is to hold.

        Raises:
            ValueError: if image and description differ in width.
        """
        image, said = e.vectors[self.space], e.vectors.get(self.description)
        if said is None:
            return image
        if said.shape != image.shape:
            raise ValueError(
                f"vectors of {self.space!r} are {list(image.shape)} and of {self.description!r} {list(said.shape)}; "
                "both must come from one embedding space"
            )
        return F.normalize((1 - self.weight) * image + self.weight * said, dim=-1)

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self.scale * self.mixed(queries) @ self.mixed(gallery).T

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return self.scale * (self.mixed(a) * self.mixed(b)).sum(-1)
