"""Index a collection with a model, and ask it: where the index, which knows no model, meets one.

An index remembers the fingerprint and the place of the checkpoint that made it, and is refused to
any other: vectors of two models do not compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Self

from datasets import Dataset
from torch import Tensor

from diptych.core.model import Model
from diptych.data.archive import Archive
from diptych.data.bad_rows import BadRows
from diptych.data.pairs import prepare, tokenize
from diptych.data.replacing import absolute
from diptych.data.views import Processed
from diptych.models.embed import embed, with_frozen_features
from diptych.models.opened import Opened, open_model
from diptych.models.opening import scheme_of
from diptych.search.address import cluster_address
from diptych.search.building import require_replaceable
from diptych.search.cluster import Cluster
from diptych.search.errors import IndexUnreadable
from diptych.search.index import Index
from diptych.search.points import Hit
from diptych.search.spaces import Space

ROWS_AT_ONCE = 1024
PLAIN = (str, int, float, bool)


def index_table(
    opened: Opened,
    rows: Dataset,
    folder: str | Path,
    *,
    source: str = "",
    cluster: Cluster | None = None,
    bad: BadRows | None = None,
    images: Callable[[int, int], None] | None = None,
    rows_done: Callable[[str, int, int], None] | None = None,
) -> int:
    """Embed a table's images and put them into an index that replaces any in `folder`.

    Rows that share an id become one hit each: the second is `id#2`, and so on.

    Args:
        opened: the model; its name is remembered, so that `Searcher.open` finds it.
        rows: a table as `open_table` gives it.
        folder: of the index, or its address on a cluster.
        source: where the rows come from, in words.
        cluster: how it lies on a cluster.
        bad: told of images that cannot be decoded.
        images, rows_done: as in `diptych.evaluation.evaluate.evaluate`.

    Returns:
        How many images are in the index.

    Raises:
        ValueError: if no row is usable.
        OSError: if the disk is full; the earlier index is still there.
    """
    _require_replaceable(folder, cluster)
    model = opened.model
    pairs = with_frozen_features(
        model, prepare(rows, model.processors, bad=bad, progress=images), only=["image"], progress=rows_done
    )
    vectors = embed(model, "image", pairs.views["image"], progress=rows_done).dense.numpy()
    names = distinct(pairs.table["id"][:])
    remembered = _remembered(opened.name, opened.options, source)
    spaces = {"dense": Space(vectors.shape[1], "cosine")}
    with Index.build(folder, spaces, checkpoint=opened.fingerprint, sources=remembered, cluster=cluster) as index:
        for start in range(0, len(names), ROWS_AT_ONCE):
            cut = slice(start, min(start + ROWS_AT_ONCE, len(names)))
            columns = pairs.table[cut]
            payloads = [
                payload(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)
            ]
            index.add(names[cut], {"dense": vectors[cut]}, payloads)
    return len(names)


def index_archive(
    archive: Archive,
    folder: str | Path,
    *,
    cluster: Cluster | None = None,
    rows_done: Callable[[str, int, int], None] | None = None,
) -> int:
    """Put the images' vectors of an archive into an index that replaces any in `folder`, shard by shard.

    Args:
        archive: that `diptych embed` wrote; the index remembers its model.
        folder, cluster, rows_done: as in `index_table`.

    Returns:
        How many images are in the index.

    Raises:
        ValueError: if the archive has no vectors of images.
        OSError: if the disk is full; the earlier index is still there.
    """
    if "image/dense" not in archive.widths:
        raise ValueError(f"{archive.folder} has no vectors of images; it has {sorted(archive.widths)}")
    _require_replaceable(folder, cluster)
    names = distinct([name for shard in archive for name in shard.rows()["id"].to_pylist()])
    spaces = {"dense": Space(archive.widths["image/dense"], "cosine")}
    done = 0
    remembered = _remembered(archive.model, archive.options, archive.source)
    with Index.build(folder, spaces, checkpoint=archive.fingerprint, sources=remembered, cluster=cluster) as index:
        for shard in archive:
            vectors = shard.vectors("image/dense").float().numpy()
            for batch in shard.rows().to_batches(ROWS_AT_ONCE):
                rows = [payload(as_table_row(row)) for row in batch.to_pylist()]
                index.add(names[done : done + len(rows)], {"dense": vectors[: len(rows)]}, rows)
                vectors, done = vectors[len(rows) :], done + len(rows)
                if rows_done:
                    rows_done("image", done, archive.rows)
    return done


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
            own = next(f"{name}#{i}" for i in count(numbers[name] + 1) if f"{name}#{i}" not in taken)
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
        limit: int = 10,
        offset: int = 0,
        where: Mapping[str, object] | None = None,
    ) -> list[Hit]:
        """The rows nearest to a text or to an image (a path, bytes, or a PIL image).

        Args:
            text: words, in any script.
            image: instead of words.
            limit: how many, at least 1.
            offset: how many to leave out first.
            where: conditions on the payload, see `diptych.search.conditions`.

        Raises:
            ValueError: if neither or both of text and image are given, or the text is blank.
            diptych.data.images.BadImage: if the image cannot be decoded.
        """
        return self.index.search(self.vector(text, image=image).numpy(), limit=limit, offset=offset, where=where)

    def vector(self, text: str | None = None, *, image: Any = None) -> Tensor:
        """The unit vector `[D]` of a text or of an image."""
        if (text is None) == (image is None):
            raise ValueError("give either a text or an image to search for")
        wanted = "image" if text is None else "text"
        if wanted not in self.model.towers:
            raise ValueError(f"the index's model has no {wanted} tower; it has {sorted(self.model.towers)}")
        if text is not None:
            if not text.strip():
                raise ValueError("the text to search for is blank")
            view, _ = tokenize([text], self.model.processors["text"])
            return embed(self.model, "text", view).dense[0]
        return embed(self.model, "image", Processed([image], self.model.processors["image"])).dense[0]
