"""Search: vectors and payloads on disk or on a cluster, filtered and ranked. It never knows the model behind them."""

from diptych.search.cluster import Cluster
from diptych.search.errors import (
    IndexInUse,
    IndexSealed,
    IndexUnreachable,
    IndexUnreadable,
    SealingFailed,
    WrongCheckpoint,
)
from diptych.search.feedback import rocchio, search_feedback
from diptych.search.filters import parse_where
from diptych.search.fusing import borda, reciprocal_rank, search_fused, weighted_sum
from diptych.search.grouping import Group, search_groups
from diptych.search.index import Index
from diptych.search.manifest import Manifest
from diptych.search.points import Hit, Record
from diptych.search.reranking import by_space, reranked, search_cascade
from diptych.search.sizes import Sizes
from diptych.search.spaces import Space
from diptych.search.vectors import Sparse, unpadded

__all__ = [
    "Cluster",
    "Group",
    "Hit",
    "Index",
    "IndexInUse",
    "IndexSealed",
    "IndexUnreachable",
    "IndexUnreadable",
    "Manifest",
    "Record",
    "SealingFailed",
    "Sizes",
    "Space",
    "Sparse",
    "WrongCheckpoint",
    "borda",
    "by_space",
    "parse_where",
    "reciprocal_rank",
    "reranked",
    "rocchio",
    "search_cascade",
    "search_feedback",
    "search_fused",
    "search_groups",
    "unpadded",
    "weighted_sum",
]
