"""A matcher of spoilt texts: directions in which a text moves when it is misread count less.

    W = mean_i (n_i - c_i)(n_i - c_i)^T,        L L^T = W + ridge tr(W) / D
    score = cos(L^-1 (n - m), L^-1 (c - m))

over pairs of a clean text c_i and its spoilt reading n_i, both as unit vectors of a frozen text encoder; m is the mean
of all. An encoder that never saw such errors moves the reading of a text further than another text lies, but mostly in
a few directions, which `fit` finds in one pass and takes the weight from. Use it where titles are read by OCR and
looked up in a catalogue: pairs to fit it come from clean texts and `diptych.data.ocr_noise`, some times D of them:
fitted to few, it is worse than the plain cosine. Where all letters but some are right, comparing trigrams is better
still (`reproductions/book_matching.py`).

Sources: Hatch et al. 2006 (within-class covariance normalisation, of speakers' recordings); that the matcher of titles
is to be fitted to noisy readings is of Llabrés et al. 2024, arXiv 2407.19812, who tune BERT over both texts at once.

System: 146 (Library book matching)
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer


class NoisyText(Scorer):
    """Cosine after the directions of noise are scaled down; the plain cosine until it is fitted.

    Args:
        width: D of the vectors.
        ridge: above 0: what is added to every direction of the noise, as a share of the mean one.
        space: of which vectors.
    """

    def __init__(self, width: int, *, ridge: float = 0.1, space: str = "dense") -> None:
        super().__init__()
        if ridge <= 0:
            raise ValueError(f"ridge is {ridge}; it must be above 0")
        self.width, self.ridge, self.space = width, ridge, space
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whiten", torch.eye(width))
        self.mean: Tensor
        self.whiten: Tensor

    @torch.no_grad()
    def fit(self, gallery: Embedding, queries: Embedding | None = None) -> Self:
        """Learn the noise from pairs.

        Args:
            gallery: n clean texts.
            queries: their readings: row i is a spoilt reading of row i.

        Raises:
            ValueError: if there are no readings, not as many, of another width, or none differs from its text.
        """
        clean = gallery.vectors[self.space]
        if queries is None or queries.vectors[self.space].shape != clean.shape or clean.shape[1:] != (self.width,):
            found = "none" if queries is None else str(tuple(queries.vectors[self.space].shape))
            raise ValueError(
                f"clean texts are {tuple(clean.shape)} and readings {found}; expected [n, {self.width}] both, row i of "
                "the readings made of row i of the texts"
            )
        c, n = (F.normalize(x.double(), dim=1) for x in (clean, queries.vectors[self.space]))
        noise = (n - c).T @ (n - c) / max(1, len(c))
        if not float(noise.trace()) > 0:
            raise ValueError("no reading differs from its text; there is no noise to learn from")
        kept = noise + self.ridge * noise.trace() / self.width * torch.eye(self.width).to(noise)
        self.whiten.copy_(torch.linalg.inv(torch.linalg.cholesky(kept)) * noise.trace().sqrt())
        self.mean.copy_(torch.cat([c, n]).mean(0))
        return self

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return self._seen(queries) @ self._seen(gallery).T

    def pairs(self, a: Embedding, b: Embedding) -> Tensor:
        return (self._seen(a) * self._seen(b)).sum(-1)

    def _seen(self, embedding: Embedding) -> Tensor:
        x = F.normalize(embedding.vectors[self.space].float(), dim=1)
        return F.normalize((x - self.mean) @ self.whiten.T, dim=1)
