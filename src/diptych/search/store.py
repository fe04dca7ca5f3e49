"""What an `Index` keeps its rows in: one shard in a folder, several behind a manifest, or a cluster.

`Index` checks everything that comes in before it asks a store, so that all of them refuse alike; a store keeps rows
and ranks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from diptych.search.manifest import Manifest
from diptych.search.points import Hit, Record
from diptych.search.vectors import Rows


class Store(Protocol):
    """Rows that can be written, searched and read; every method as `diptych.search.shard.Shard` describes it.

    Attributes:
        manifest: what is kept: spaces, checkpoint, sources, count.
    """

    manifest: Manifest

    def __len__(self) -> int: ...

    def upsert(self, ids: Sequence[str], vectors: Mapping[str, Rows], payloads: Sequence[Mapping[str, object]]) -> None:
        """Add rows, or replace those of the same ids; safe once it returned."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows; returns how many of them there were."""
        ...

    def search(
        self,
        queries: Rows,
        name: str,
        *,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """The nearest rows to each query in the space `name`; equal scores are settled by id."""
        ...

    def score(self, query: Rows, name: str, ids: Sequence[str]) -> dict[str, float]:
        """The exact scores, in the space `name`, of those of these rows that are there, against one query.

        In a lexical space a row of score 0 may be missing.
        """
        ...

    def search_again(
        self,
        query: Rows,
        name: str,
        again: Rows,
        other: str,
        *,
        depth: int,
        keep: float,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The nearest `depth` rows to one query in the space `name`, ranked by their exact scores in the space `other`.

        Args:
            query: one row of `name`.
            again: one row of `other`.
            keep: how many times the first score is added.
        """
        ...

    def get(self, ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """The rows of these ids, in their order, without those that are not there."""
        ...

    def scroll(self, *, where: Mapping[str, object] | None, vectors: bool) -> Iterator[list[Record]]:
        """All rows that `where` asks for, some at a time."""
        ...

    def flush(self) -> None:
        """Put all writes on the disk."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
