"""Search: vectors and payloads kept on disk, filtered and ranked. It never knows the model that made them."""

from diptych.search.errors import IndexInUse, IndexSealed, IndexUnreadable, WrongCheckpoint
from diptych.search.filters import parse_where
from diptych.search.index import Index
from diptych.search.manifest import Manifest, Space
from diptych.search.points import Hit, Record

__all__ = [
    "Hit",
    "Index",
    "IndexInUse",
    "IndexSealed",
    "IndexUnreadable",
    "Manifest",
    "Record",
    "Space",
    "WrongCheckpoint",
    "parse_where",
]
