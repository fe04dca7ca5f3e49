"""A part of an index: a shard, and which of its rows are dead. All parts but the live one are never written again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from diptych.search.holding import hold_shard
from diptych.search.points import Hit, Record
from diptych.search.shard import Shard
from diptych.search.spaces import Space
from diptych.search.vectors import Rows


class Part:
    """A shard without its dead rows; made by `load`, or around a new shard.

    Attributes:
        name: of its folder.
        shard: what keeps its rows.
        dead: ids of its rows that are deleted, or lie in a newer part. The set never changes; it is replaced by larger
            ones. Who asks takes one and stays with it, lest a row that moves be missed in both places.
        rows: how many it has, dead ones too; None while it takes writes.
        users: how many searches are going on in it.
        retired: whether it is to be closed when there are none.
    """

    def __init__(self, name: str, shard: Shard, *, rows: int | None = None, handle: int | None = None) -> None:
        self.name, self.shard, self.rows = name, shard, rows
        self.dead: frozenset[str] = frozenset()
        self.users, self.retired = 0, False
        self._handle = handle

    @classmethod
    def load(cls, folder: Path, name: str, spaces: Mapping[str, Space], dead: set[str] | None = None) -> Part:
        """A part that takes no more writes, held so that nobody removes it.

        Raises:
            IndexUnreadable, IndexInUse, OSError: as `Shard.load`.
        """
        handle = None
        with suppress(FileNotFoundError):  # which `Shard.load` tells better
            handle = hold_shard(folder / name)
        try:
            shard = Shard.load(folder / name, spaces)
            part = cls(name, shard, rows=len(shard), handle=handle)
        except BaseException:
            if handle is not None:
                os.close(handle)
            raise
        part.dead = frozenset(dead or ())
        return part

    def __len__(self) -> int:
        return (len(self.shard) if self.rows is None else self.rows) - len(self.dead)

    def empty(self, dead: Set[str]) -> bool:
        """Whether it surely has no row but dead ones; quick."""
        return self.shard.empty if self.rows is None else self.rows == len(dead)

    def holding(self, points: Mapping[UUID, str]) -> set[str]:
        """Which of these rows it has, and alive; given as the engine's id -> the row's."""
        return {points[point] for point in self.shard.holding(list(points))} - self.dead

    def search(
        self,
        dead: Set[str],
        queries: Rows,
        name: str,
        *,
        limit: int,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[list[Hit]]:
        """As `Shard.search`, without the dead rows."""
        return self.shard.search(
            queries, name, limit=limit, offset=offset, where=where, exact=exact, ef=ef, without=dead
        )

    def score(self, dead: Set[str], query: Rows, name: str, ids: Sequence[str]) -> dict[str, float]:
        """As `Shard.score`, without the dead rows."""
        return self.shard.score(query, name, [one for one in ids if one not in dead] if dead else ids)

    def candidates(
        self,
        dead: Set[str],
        query: Rows,
        name: str,
        *,
        limit: int,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> list[tuple[UUID, float]]:
        """As `Shard.candidates`, without the dead rows."""
        return self.shard.candidates(query, name, limit=limit, where=where, exact=exact, without=dead)

    def get(self, dead: Set[str], ids: Sequence[str], *, vectors: bool) -> list[Record]:
        """As `Shard.get`, without the dead rows."""
        return self.shard.get([one for one in ids if one not in dead], vectors=vectors)

    def close(self) -> None:
        """Let go of the files."""
        self.shard.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
