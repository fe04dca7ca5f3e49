"""What a trained model got of every query, kept beside the run, and the metrics that can be compared query by query.

    t2i_recall@10   1 where a text found one of its images among the first 10, else 0
    i2t_mrr         one over the rank of an image's best text

RUN/outcome.json       the numbers, and what they cost
RUN/ranks.safetensors  [Q] for texts (t2i) and images (i2t): the rank of each query's best right row, 0 where it has
                       none; and the group of queries that each one hangs together with
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

WAYS = {"t2i": "images found by text", "i2t": "texts found by image"}
_METRIC = re.compile(r"(t2i|i2t)_(?:recall@(\d+)|mrr)")


@dataclass(frozen=True, eq=False)
class Outcome:
    """A run's measurement.

    Attributes:
        numbers: `t2i_recall@1` and so on, as `Evaluated.flat` gives them.
        cost: "steps", "pairs", "seconds", "parameters", "trained", "memory_mb" (None where it cannot be told).
        rank: "t2i" and "i2t" -> `[Q]` int64, the best right row's rank, 1-based; 0 where the query has none.
        cluster: likewise, the group of queries that each hangs together with.
        rows: hash of the rows it was measured on.
    """

    numbers: Mapping[str, float]
    cost: Mapping[str, Any]
    rank: Mapping[str, np.ndarray]
    cluster: Mapping[str, np.ndarray]
    rows: str

    def save(self, run: Path) -> None:
        """Write it into the folder of a run; `outcome.json`, which tells that all is there, comes last."""
        tensors = {**dict(self.rank), **{f"{way}_cluster": own for way, own in self.cluster.items()}}
        save_file({name: np.ascontiguousarray(own) for name, own in tensors.items()}, run / "ranks.safetensors")
        note = {name: own for name, own in asdict(self).items() if name not in ("rank", "cluster")}
        fresh = run / ".outcome.json.writing"
        fresh.write_text(json.dumps(note, indent=1) + "\n")
        os.replace(fresh, run / "outcome.json")

    @staticmethod
    def find(run: Path) -> Outcome | None:
        """What `save` wrote; None if the run is not measured yet."""
        file = run / "outcome.json"
        if not file.exists():
            return None
        arrays = load_file(run / "ranks.safetensors")
        rank = {way: arrays[way] for way in WAYS}
        cluster = {way: arrays[f"{way}_cluster"] for way in WAYS}
        return Outcome(**json.loads(file.read_text()), rank=rank, cluster=cluster)


@dataclass(frozen=True)
class Metric:
    """A number that is a mean over queries.

    Attributes:
        way: "t2i" or "i2t".
        k: of recall@k; None for the mean reciprocal rank.
    """

    way: str
    k: int | None

    @staticmethod
    def parse(text: str) -> Metric:
        """Read `t2i_recall@10`, `i2t_mrr`.

        Raises:
            ValueError: if it is none of these.
        """
        found = _METRIC.fullmatch(text)
        if found is None or found[2] == "0":
            raise ValueError(
                f"--metric {text!r} cannot be compared query by query; there are t2i_recall@K, i2t_recall@K (K from 1),"
                " t2i_mrr and i2t_mrr"
            )
        return Metric(found[1], int(found[2]) if found[2] else None)

    def __str__(self) -> str:
        return f"{self.way}_mrr" if self.k is None else f"{self.way}_recall@{self.k}"

    @property
    def words(self) -> str:
        """What it is, for a reader who never saw it."""
        if self.k is None:
            return f"mean reciprocal rank of the first right answer, {WAYS[self.way]}, times 100"
        asked, found = ("texts", "image") if self.way == "t2i" else ("images", "text")
        return f"share of {asked} that find a right {found} among the first {self.k}, in points of a hundred"

    def of(self, rank: np.ndarray) -> np.ndarray:
        """What each query got, 0 to 1; queries without any right row must be left out before.

        Example:
            >>> Metric("t2i", 2).of(np.array([1, 3, 2])), Metric("t2i", None).of(np.array([1, 4]))
            (array([1., 0., 1.]), array([1.  , 0.25]))
        """
        return 1.0 / rank if self.k is None else (rank <= self.k).astype(np.float64)


def clusters_of(keys: np.ndarray) -> np.ndarray:
    """The groups of queries that hang together: those that share a key, and those that share one with these.

    Args:
        keys: `[Q, K]` int64, -1 pads. The texts of one image, equal texts, and rows of one id share a key.

    Returns:
        `[Q]` int64, numbers from 0 in the order in which the groups first come.

    Example:
        >>> clusters_of(np.array([[1, 2], [3, 4], [2, 5], [6, -1]]))
        array([0, 1, 0, 2])
    """
    parent = list(range(len(keys)))

    def root(query: int) -> int:
        while parent[query] != query:
            parent[query] = query = parent[parent[query]]
        return query

    holder: dict[int, int] = {}
    for query, own in enumerate(keys.tolist()):
        for key in own:
            if key < 0:
                continue
            first, other = sorted((root(query), root(holder.setdefault(key, query))))
            parent[other] = first
    roots = np.array([root(query) for query in range(len(keys))], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
