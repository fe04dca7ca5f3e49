"""Hard-negative batches: every batch is made of groups of rows that the model, as it is now, takes for alike.

In a shuffled batch nearly all negatives are far away and teach little. Here each batch holds groups of `group`
rows: one row by chance, and its nearest rows in the current embeddings that no group has yet. All rows come once an
epoch, as in a shuffled one; only who meets whom changes. Several groups to a batch keep the easy negatives too.

The embeddings are a survey's (`ItemEmbeddings`), mined anew whenever it runs. The first `warm` share of epochs is
shuffled: the embeddings of a fresh model say nothing. Rows of one item, or with one text, are positives by their
keys wherever they meet, so they do no harm; other near-duplicates do, and small groups meet fewer of them.
Use it when the shuffled loss has become small; not on noisy or much repeated captions.

Cost: neighbours are looked for in cells of `cell` rows, cut by balanced 2-means with new starts every epoch. That is
about 2 N D cell multiplications in float64 and N D floats of memory for N rows of D dimensions, none of it N x N.

Sources: batches of clusters of the current embeddings, cut by balanced 2-means, after epochs of random ones, are
NGAME's (Dahiya et al. 2022, arXiv 2207.04452; the cut is that of Parabel, Prabhu et al. 2018, WWW). A row with its
nearest neighbours rather than a whole cluster is NegCLIP's (Yuksekgonul et al. 2022, arXiv 2210.01936); for images
and texts see also GRIT-VLP (Byun et al. 2022, arXiv 2208.04060), and for the harm of near-duplicates BatchSampler
(Yang et al. 2023, arXiv 2306.03355).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diptych.training.sampler import Epoch, batches_of, in_batches
from diptych.training.samplers.columns import numbers
from diptych.training.samplers.neighbours import neighbour_groups


@dataclass(frozen=True)
class HardNegatives:
    """Batches of groups of near neighbours.

    Attributes:
        column: of embeddings, `[rows, D]`, compared by cosine.
        group: rows of a group, at least 2; where it does not divide a batch, some groups have fewer.
        warm: share of the phase's epochs, from its first, that are shuffled; any share above 0 is an epoch at least.
        cell: rows among which neighbours are looked for.

    Raises:
        ValueError: when it is built with numbers out of range; when it is called, if the column is missing, does not
            hold one vector a row, or has values that are not finite.
    """

    column: str = "embedding"
    group: int = 8
    warm: float = 0.1
    cell: int = 1024

    def __post_init__(self) -> None:
        if not self.column:
            raise ValueError("HardNegatives needs the name of a column")
        if self.group < 2:
            raise ValueError(f"group is {self.group}; it counts a row and its neighbours, 2 at least")
        if not 0 <= self.warm <= 1:
            raise ValueError(f"warm is {self.warm}; it is a share of the epochs, 0 to 1")
        if self.cell < self.group:
            raise ValueError(f"cell is {self.cell}; it holds whole groups, of {self.group} rows")

    @property
    def columns(self) -> tuple[str, ...]:
        """The embeddings' column."""
        return (self.column,)

    def count(self, rows: int, batch_size: int, *, number: int = 0, of: int = 1) -> int:
        """All rows over `batch_size`, rounded up."""
        return batches_of(rows, batch_size)

    def __call__(self, epoch: Epoch, batch_size: int) -> list[np.ndarray]:
        random = epoch.random()
        if epoch.number < round(self.warm * epoch.of, 6):
            return in_batches(random.permutation(epoch.rows), batch_size)
        vectors = numbers(epoch, self.column, dimensions=2)
        wanted = [
            (batch, len(part))
            for batch, rows in enumerate(in_batches(np.arange(epoch.rows), batch_size))
            for part in in_batches(rows, self.group)
        ]
        # Groups are cut out of the space side by side; by chance, so that a batch has groups from everywhere.
        slots = np.array(wanted)[random.permutation(len(wanted))]
        found = neighbour_groups(vectors, slots[:, 1], cell=self.cell, random=random)
        batches: list[list[np.ndarray]] = [[] for _ in range(self.count(epoch.rows, batch_size))]
        for batch, rows in zip(slots[:, 0], found, strict=True):
            batches[batch].append(rows)
        return [np.concatenate(parts) for parts in batches]
