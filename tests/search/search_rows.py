"""Rows to index, and the exact answer by NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.search import Hit, Space

SPACES = {"dense": Space(16, "cosine")}
CHECKPOINT = "a1b2c3d4e5f60718"


@dataclass(frozen=True)
class Rows:
    """Rows to index: `ids[i]`, `vectors[i]`, `payloads[i]` belong together."""

    ids: list[str]
    vectors: NDArray[np.float32]  # [N, 16]
    payloads: list[dict[str, object]]

    def nearest(self, query: NDArray[np.float32], keep: list[int] | None = None) -> list[tuple[str, float]]:
        """Every kept row with its cosine, best first, worked out in float64."""
        chosen = list(range(len(self.ids))) if keep is None else keep
        vectors, wanted = self.vectors[chosen].astype(np.float64), query.astype(np.float64)
        cosine = vectors @ wanted / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted))
        return [(self.ids[chosen[i]], float(cosine[i])) for i in np.argsort(-cosine)]


def names(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


def assert_same(hits: list[Hit], others: list[Hit]) -> None:
    """The same rows in the same order, by the same scores but for a rounding of float32.

    The client's own memory sums as NumPy does, in an order that depends on where in memory the numbers lie.
    """
    assert [(hit.id, hit.payload) for hit in hits] == [(hit.id, hit.payload) for hit in others]
    np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], rtol=1e-6, atol=1e-6)
