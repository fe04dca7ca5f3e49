"""Index a collection with a model, and ask it: where the index, which knows no model, meets one.

An index remembers the fingerprint and the place of the checkpoint that made it, and is refused to
any other: vectors of two models do not compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from itertools import count as counting
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from datasets import Dataset
from torch import nn

from diptych.core.model import Model
from diptych.data.archive import Archive, spaces_of
from diptych.data.bad_rows import BadRows
from diptych.data.pairs import tokenize
from diptych.data.replacing import absolute
from diptych.data.views import Processed
from diptych.encoders import term_names, words_of
from diptych.models.archiving import Archiver
from diptych.models.embed import embed
from diptych.models.opened import Opened, open_model
from diptych.models.opening import scheme_of
from diptych.search.address import cluster_address
from diptych.search.building import require_replaceable
from diptych.search.cluster import Cluster
from diptych.search.embedded import Block, as_query, chosen_spaces, kept_share
from diptych.search.errors import IndexUnreadable
from diptych.search.explaining import Reason, reasons
from diptych.search.fusing import search_fused
from diptych.search.grouping import Group, search_groups
from diptych.search.index import Index
from diptych.search.points import Hit
from diptych.search.reranking import by_space, reranked, search_cascade
from diptych.search.spaces import Quantization
from diptych.search.vectors import GivenVector

ROWS_AT_ONCE = 1024
BLOCK_ROWS = 4096
DEPTH = 100
PLAIN = (str, int, float, bool)


def index_table(
    opened: Opened,
    rows: Dataset,
    folder: str | Path,
    *,
    wanted: Collection[str] | None = None,
    quantization: Quantization | None = "scalar",
    pool: float = 1.0,
    source: str = "",
    cluster: Cluster | None = None,
    bad: BadRows | None = None,
    rows_done: Callable[[str, int, int], None] | None = None,
) -> int:
    """Embed a table's images and put them into an index that replaces any in `folder`, a block of rows at a time.

    Every head of the model's images fills a space of its own name. Rows that share an id become one hit each: the
    second is `id#2`, and so on. Interrupted, the same call finds what its towers had computed in the store.

    Args:
        opened: the model; its name is remembered, so that `Searcher.open` finds it.
        rows: a table as `open_table` gives it.
        folder: of the index, or its address on a cluster.
        wanted: names of the spaces; None for all that the model fills.
        quantization: of dense spaces, see `Space`.
        pool: tokens of a row are clustered to this share fewer, see `pool_tokens`; 1 keeps all.
        source: where the rows come from, in words.
        cluster: how it lies on a cluster.
        bad: told of images that cannot be decoded.
        rows_done: told ("image", rows done, rows in all).

    Returns:
        How many images are in the index.

    Raises:
        ValueError: if no row is usable, or the model fills no such space.
        OSError: if the disk is full; the earlier index is still there.
    """

    def blocks() -> Iterator[Block]:
        with Archiver(opened.model, fingerprint=opened.fingerprint, views=("image",)) as archiver:
            done = [0]

            def told(count: int, _: int) -> None:
                done[0] += count
                if rows_done:
                    rows_done("image", done[0], len(rows))

            for start in range(0, len(rows), BLOCK_ROWS):
                block = rows.select(range(start, min(start + BLOCK_ROWS, len(rows))))
                table, vectors, facts = archiver.shard(block, "", start, told)
                if bad is not None:
                    bad.extend(facts.bad)
                yield Block(table, vectors, table["_row"].to_numpy())

    if "image" not in opened.model.towers:
        raise ValueError(f"{opened.name} has no image tower; it has {sorted(opened.model.towers)}")
    remembered = _remembered(opened.name, opened.options, source)
    names = distinct(rows["id"][:])
    return _filled(folder, blocks(), names, opened.fingerprint, remembered, wanted, quantization, pool, cluster)


def index_archive(
    archive: Archive,
    folder: str | Path,
    *,
    wanted: Collection[str] | None = None,
    quantization: Quantization | None = "scalar",
    pool: float = 1.0,
    cluster: Cluster | None = None,
    rows_done: Callable[[str, int, int], None] | None = None,
) -> int:
    """Put the images' vectors of an archive into an index that replaces any in `folder`, shard by shard.

    Args:
        archive: that `diptych embed` wrote; the index remembers its model.
        folder, wanted, quantization, pool, cluster, rows_done: as in `index_table`.

    Returns:
        How many images are in the index.

    Raises:
        ValueError: if the archive has no vectors of images, or none of a wanted space.
        OSError: if the disk is full; the earlier index is still there.
    """
    if not any(name.startswith("image/") for name in archive.widths):
        raise ValueError(f"{archive.folder} has no vectors of images; it has {sorted(archive.widths)}")
    names = distinct([name for shard in archive for name in shard.rows()["id"].to_pylist()])

    def blocks() -> Iterator[Block]:
        done = 0
        for shard in archive:
            table = shard.rows()
            vectors = {name: shard.vectors(name) for name in shard.names() if name.startswith("image/")}
            yield Block(table, vectors, np.arange(done, done + len(table)))
            done += len(table)
            if rows_done:
                rows_done("image", done, archive.rows)

    remembered = _remembered(archive.model, archive.options, archive.source)
    return _filled(folder, blocks(), names, archive.fingerprint, remembered, wanted, quantization, pool, cluster)


def _filled(
    folder: str | Path,
    blocks: Iterator[Block],
    names: list[str],
    fingerprint: str,
    remembered: str,
    wanted: Collection[str] | None,
    quantization: Quantization | None,
    pool: float,
    cluster: Cluster | None,
) -> int:
    """Build the index of these blocks; how many rows there were."""
    _require_replaceable(folder, cluster)
    first = next((block for block in blocks if len(block.rows)), None)
    if first is None:
        raise ValueError(f"none of the {len(names):,} rows could be embedded: see the bad rows")
    spaces = chosen_spaces(spaces_of(first.vectors), wanted, quantization)
    count = 0
    with Index.build(folder, spaces, checkpoint=fingerprint, sources=remembered, cluster=cluster) as index:
        for block in chain([first], blocks):
            for start in range(0, len(block.rows), ROWS_AT_ONCE):
                cut = slice(start, min(start + ROWS_AT_ONCE, len(block.rows)))
                payloads = [payload(as_table_row(row)) for row in block.rows[cut].to_pylist()]
                vectors = {name: block.given(name, space, cut, pool) for name, space in spaces.items()}
                index.add([names[row] for row in block.numbers[cut]], vectors, payloads)
                count += len(payloads)
    return count


def _require_replaceable(place: str | Path, cluster: Cluster | None) -> None:
    """Raise before anything is embedded if there is something else in the index's place, or no server."""
    address = cluster_address(place, cluster)
    if address is None:
        require_replaceable(absolute(place))
        return
    from diptych.search.remote_building import require_replaceable_remote

    require_replaceable_remote(address, cluster)


def _remembered(name: str, options: Mapping[str, Any], source: str) -> str:
    """What an index keeps of its model's name, of what it was opened with, and of the rows' source: a line each."""
    return "\n".join([name, json.dumps(dict(options)), source])


def _recalled(sources: str) -> tuple[str, dict[str, Any]]:
    """The model's name and what it was opened with."""
    name, _, rest = sources.partition("\n")
    line = rest.partition("\n")[0]
    return name, json.loads(line) if line.startswith("{") else {}


def as_table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an archive as the table had it, but for the image's bytes."""
    kept = {name: value for name, value in row.items() if name not in ("_row", "_image")}
    return {**kept, "image": {"path": row["_image"]}}


def payload(row: Mapping[str, Any]) -> dict[str, object]:
    """What is kept of a row beside its vector: its texts, the image's path, and every plain column."""
    kept: dict[str, object] = {"texts": list(row["text"]), "image": (row["image"] or {}).get("path")}
    for name, value in row.items():
        if name in ("image", "text", "texts"):
            continue
        many = value if isinstance(value, list) else [value]
        if all(isinstance(one, PLAIN) and one == one for one in many):  # NaN is not equal to itself
            kept[name] = value
    return kept


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each repeated one numbered.

    Example:
        >>> distinct(["a", "b", "a"])
        ['a', 'b', 'a#2']
    """
    taken = set(names)
    numbers: dict[str, int] = {}
    out = []
    for name in names:
        own = name
        if name in numbers:
            own = next(f"{name}#{i}" for i in counting(numbers[name] + 1) if f"{name}#{i}" not in taken)
            numbers[name] = int(own.rsplit("#", 1)[1])
        else:
            numbers[name] = 1
        taken.add(own)
        out.append(own)
    return out


class Searcher:
    """An index and the model that made it.

    Example:
        `Searcher.open("indexes/photos").search("two dogs running on grass", limit=5)`
    """

    def __init__(self, index: Index, model: Model) -> None:
        self.index, self.model = index, model

    @classmethod
    def open(cls, folder: str | Path, *, model: str | Path | None = None) -> Self:
        """Open an index with its checkpoint.

        Args:
            folder: of the index, or its address on a cluster.
            model: the run, its checkpoint or another model's name, where it is no longer what the index remembers.

        Raises:
            WrongCheckpoint: if that checkpoint did not make this index.
            IndexUnreadable: if there is no index, or its checkpoint is not found.
        """
        index = Index.open(folder, read_only=True)
        index.close()
        name, options = _recalled(index.manifest.sources)
        name = str(model) if model is not None else name
        if scheme_of(name)[0] is None and model is None and not (Path(name) / "model.json").exists():
            raise IndexUnreadable(
                f"the checkpoint that made {folder} is not at {name}; say where it is with --model, or index again"
            )
        opened = open_model(name, **options)
        return cls(Index.open(folder, checkpoint=opened.fingerprint, read_only=True), opened.model)

    def search(
        self,
        text: str | None = None,
        *,
        image: Any = None,
        spaces: Sequence[str] = (),
        rerank: str | None = None,
        limit: int = 10,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The rows nearest to a text or to an image (a path, bytes, or a PIL image).

        Args:
            text: words, in any script.
            image: instead of words.
            spaces: to search; the rankings of several are fused by reciprocal ranks. `default_space` if empty.
            rerank: a space in which the first `DEPTH` hits are scored again, exactly; where vectors and tokens were
                trained to be added (recipe `every_space`), the score of the vectors stays in.
            limit: how many, at least 1.
            offset: how many to leave out first.
            where: conditions on the payload, see `diptych.search.conditions`.
            exact: no graph and no small copies.

        Raises:
            ValueError: if neither or both of text and image are given, the text is blank, or there is no such space.
            diptych.data.images.BadImage: if the image cannot be decoded.
        """
        asked = self.queries(
            text, image=image, spaces=[*(spaces or [self.default_space]), *([rerank] if rerank else [])]
        )
        first = {name: asked[name] for name in spaces or [self.default_space]}
        name, vector = next(iter(first.items()))
        kind: dict[str, Any] = {"where": where, "exact": exact}
        depth = max(DEPTH, offset + limit)
        if rerank is not None:
            keep = kept_share(self.model, asked[rerank]) if list(first) == ["dense"] and rerank == "tokens" else 0.0
            rescore = by_space(self.index, asked[rerank], space=rerank, keep=keep)
            if len(first) > 1:
                found = search_fused(self.index, first, depth=depth, limit=depth, **kind)
                return reranked(found, rescore)[offset : offset + limit]
            return search_cascade(
                self.index, vector, rescore, space=name, depth=depth, limit=limit, offset=offset, **kind
            )
        if len(first) > 1:
            return search_fused(self.index, first, depth=depth, limit=limit, offset=offset, **kind)
        return self.index.search(vector, space=name, limit=limit, offset=offset, **kind)

    def groups(
        self, text: str | None = None, *, group_by: str, image: Any = None, space: str | None = None, **options: Any
    ) -> list[Group]:
        """The nearest values of a payload field, each with its best hit; options as for `search_groups`."""
        name = space or self.default_space
        (vector,) = self.queries(text, image=image, spaces=[name]).values()
        return search_groups(self.index, vector, group_by=group_by, space=name, **options)

    def explain(
        self, hit: str, text: str | None = None, *, image: Any = None, space: str | None = None
    ) -> list[Reason]:
        """What made a row's score: words of a lexical space, tokens of a late one; see `diptych.search.explaining`.

        Args:
            hit: the row's id.
            text, image: the query.
            space: which; `default_space` if None.

        Raises:
            ValueError: if there is no such row or space, or as `search`.
        """
        name = space or self.default_space
        (vector,) = self.queries(text, image=image, spaces=[name]).values()
        (record, *_) = self.index.get([hit], vectors=True) or [None]
        if record is None:
            raise ValueError(f"{self.index.place} has no row {hit!r}")
        kind = self.index.manifest.spaces[name].kind
        parts: Sequence[str] = ()
        if kind == "lexical":
            heads = cast(nn.ModuleDict, self.model.heads[self.model.route("image").tower])
            parts = term_names(heads[name], self.model.processors["text"])
        elif kind == "late" and text is not None and "tokens" in self.model.heads[self.model.route("text").tower]:  # type: ignore[operator]
            view, _ = tokenize([text], self.model.processors["text"])
            words, inputs = words_of(self.model.processors["text"]), view.take(np.arange(1))
            parts = [words[token] for token in inputs["ids"][0][inputs["mask"][0].bool()].tolist()]
        return reasons(self.index.manifest.spaces[name], vector, record.vectors[name], parts)

    @property
    def default_space(self) -> str:
        """The space that is searched where none is named: "dense" if there is one."""
        spaces = list(self.index.manifest.spaces)
        return "dense" if "dense" in spaces else spaces[0]

    def queries(self, text: str | None = None, *, image: Any = None, spaces: Sequence[str]) -> dict[str, GivenVector]:
        """A text or an image as a query in each of these spaces."""
        if (text is None) == (image is None):
            raise ValueError("give either a text or an image to search for")
        there = self.index.manifest.spaces
        for name in spaces:
            if name not in there:
                raise ValueError(f"{self.index.place} has no space {name!r}; it has {sorted(there)}")
        wanted = "image" if text is None else "text"
        if wanted not in self.model.towers:
            raise ValueError(f"the index's model has no {wanted} tower; it has {sorted(self.model.towers)}")
        if text is not None:
            if not text.strip():
                raise ValueError("the text to search for is blank")
            view, _ = tokenize([text], self.model.processors["text"])
            said = embed(self.model, "text", view)
        else:
            said = embed(self.model, "image", Processed([image], self.model.processors["image"]))
        return {name: as_query(said, name, there[name]) for name in dict.fromkeys(spaces)}
