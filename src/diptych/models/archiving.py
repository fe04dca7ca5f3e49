"""Embed a whole collection into an archive: shard by shard, going on where it was interrupted, in flat memory.

Pictures are decoded in threads while others are embedded; texts of like length go together; towers compute in bf16
where that is fast and faithful. Features come from, and go to, the store that training, evaluation and indexing read,
so what any of them has seen is not computed again, and a shard that is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Audio, Dataset
from datasets import Image as DecodedImage
from torch import Tensor, nn

from diptych.core.configuration import describe
from diptych.core.embedding import Features
from diptych.core.model import Model
from diptych.data.archive import Archive, ArchiveError, Facts, Shard
from diptych.data.bad_rows import BadRow, BadRows
from diptych.data.images import BadImage
from diptych.data.items import hashes_of, item_hashes
from diptych.data.memory import give_back_memory
from diptych.data.pairs import tokenize
from diptych.data.pixels import content_of
from diptych.data.processors import ImageProcessor
from diptych.data.store import find_stored, hash_of, stored
from diptych.data.threads import beforehand, in_order, usable_cores
from diptych.data.views import Arrays, View
from diptych.models.columns import Columns, joined
from diptych.models.embed import TRIED, batches
from diptych.models.modes import evaluating
from diptych.models.precision import Precision
from diptych.models.reading import reads_tokens
from diptych.models.stored import TowerStore, filled

Progress = Callable[[int, int, int], None]
SHARD_ROWS = 16384
CHUNK_BYTES = 1 << 27
"""Of decoded pixels in a chunk; one is embedded while another is decoded."""
HEADED_ROWS = 1024
NAMES = {"items": ((16,), "uint8")}


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows' images.

    Attributes:
        rows: where they lie in the block.
        items: the names of the good ones.
        good: `[n]` bool.
        troubles: row of the chunk -> reason and detail.
        pixels: of the good ones; None where all are in the store.
    """

    rows: slice
    items: np.ndarray
    good: np.ndarray
    troubles: Mapping[int, tuple[str, str]]
    pixels: View | None


class Archiver:
    """Embeds blocks of a table with one model.

    Args:
        model: in eval mode, on its device.
        fingerprint: of the model.
        precision: of the towers, see `diptych.models.precision`.
        dtype: that vectors are kept in.
        threads: that decode; None for one a core.
        views: to embed; None for those of all towers.

    The towers' tokens are not stored (they are many times as large as pooled features), so where a head reads them a
    tower runs on all items of a shard that is made.
    """

    def __init__(
        self,
        model: Model,
        *,
        fingerprint: str,
        precision: Precision = "auto",
        dtype: torch.dtype = torch.float16,
        threads: int | None = None,
        views: Collection[str] | None = None,
    ) -> None:
        self.asked: Precision = precision
        self.model, self.dtype = model, dtype
        self.views = {name for name in ("image", "text") if name in model.towers and (views is None or name in views)}
        self.threads = usable_cores() if threads is None else threads
        self.fingerprint = fingerprint
        self._stores: dict[str, TowerStore] = {}
        self._open = ExitStack()

    def __enter__(self) -> Archiver:
        self._open.enter_context(evaluating(self.model))
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()  # what was computed is stored, also after Ctrl-C

    def key(self, block: Dataset) -> str:
        """A hash of everything that a shard of these rows depends on."""
        about = [self.fingerprint, self.asked, str(self.dtype), *self._left_out()]
        others = block.select_columns(_plain(block)).with_format("arrow")
        rows = [hash_of(repr(others[i : i + 1024].to_pydict())) for i in range(0, len(others), 1024)]  # type: ignore[union-attr]
        return hash_of(about, rows, content_of(block, "image") if "image" in self.views else None)

    def shard(
        self, block: Dataset, key: str, first: int, done: Callable[[int, int], None]
    ) -> tuple[pa.Table, dict[str, Tensor], Facts]:
        """Rows, vectors and facts of a shard.

        Args:
            block: its rows.
            key: that they had before any of them was read.
            first: number of the first of them in the table.
            done: told (rows, items) that were just embedded.
        """
        good, bad, vectors = np.ones(len(block), bool), [], {}
        if "image" in self.views:
            values, good, bad = self._images(block, first, done)
            vectors |= joined(values or [self._nothing("image")])
        rows = np.flatnonzero(good)
        kept = block.select(rows)
        texts: list[list[str]] = kept["text"][:]
        cut = 0
        if "text" in self.views:
            owner = np.repeat(np.arange(len(texts)), [len(own) for own in texts])
            view, cut = tokenize([one for own in texts for one in own], self.model.processors["text"])
            vectors |= self._texts(view)
            vectors["text/owner"] = torch.from_numpy(owner)
            done(0 if "image" in self.views else len(block), len(owner))
        precision = {view: store.precision for view, store in self._stores.items()}
        count = sum(map(len, texts)) if "text" in self.views else 0
        facts = Facts(key, self.fingerprint, len(kept), count, cut, precision, tuple(bad))
        return _row_table(kept, first + rows), vectors, facts

    def _left_out(self) -> list[str]:
        return sorted({"image", "text"} & set(self.model.towers) - self.views)

    def _heads(self, view: str) -> nn.ModuleDict:
        heads = self.model.heads[self.model.route(view).tower]
        assert isinstance(heads, nn.ModuleDict)
        return heads

    def _store(
        self, view: str, first: Callable[[], Mapping[str, Tensor]], fill: tuple[int, int] | None = None
    ) -> TowerStore:
        """The store of a view's tower, open for as long as this is."""
        if view not in self._stores:
            store = TowerStore(self.model, view, precision=self.asked, filled=fill, first=first)
            self._open.enter_context(store.filling())
            self._stores[view] = store
        return self._stores[view]

    def _texts(self, view: View) -> dict[str, Tensor]:
        if not len(view):
            return self._nothing("text")
        store = self._store("text", partial(view.take, np.arange(min(len(view), TRIED))), filled(view))
        return self._said(store, item_hashes(view), view)

    def _nothing(self, view: str) -> dict[str, Tensor]:
        """The vectors of no rows."""
        return Columns(dict(self._heads(view).items()), 0, self.dtype).tensors(view, width=_width(self.model, view))

    def _said(self, store: TowerStore, items: np.ndarray, rows: View | None) -> dict[str, Tensor]:
        """The vectors of some items in every space; where a head reads tokens, nothing comes from the store."""
        heads = self._heads(store.view)
        columns = Columns(dict(heads.items()), len(items), self.dtype)
        if reads_tokens(heads):
            assert rows is not None
            for cut, inputs in batches(store.view, rows, _lacking_by_length(rows, np.ones(len(items), bool)), 64):
                columns.put(cut, store.said(inputs))
        else:
            pooled = self._values(store, items, rows)
            for start in range(0, len(pooled), HEADED_ROWS):
                part = pooled[start : start + HEADED_ROWS]
                columns.put(np.arange(start, start + len(part)), Features(part.to(store.device)))
        return columns.tensors(store.view, width=_width(self.model, store.view))

    def _images(
        self, block: Dataset, first: int, done: Callable[[int, int], None]
    ) -> tuple[list[dict[str, Tensor]], np.ndarray, list[BadRow]]:
        """What is said of the good images, which they are, and why the others are not."""
        processor = self.model.processors["image"]
        assert isinstance(processor, ImageProcessor)
        good, bad = np.zeros(len(block), bool), []
        values: list[dict[str, Tensor]] = []
        store = None
        if "image" in self._stores or _some_pixels(block, processor) is not None:
            store = self._store("image", lambda: {"pixels": _some_pixels(block, processor)})  # type: ignore[dict-item]
        always = reads_tokens(self._heads("image"))
        for chunk in beforehand(_chunks(block, processor, store, self.threads, always=always), 1):
            good[chunk.rows] = chunk.good
            for row, (reason, detail) in chunk.troubles.items():
                one = block[chunk.rows.start + row]
                where = (one["image"] or {}).get("path") or one["id"]
                bad.append(BadRow(first + chunk.rows.start + row, str(where), reason, detail))
            if len(chunk.items) and store is not None:
                values.append(self._said(store, chunk.items, chunk.pixels))
            give_back_memory()
            done(len(chunk.good), len(chunk.items))
        return values, good, bad

    def _values(self, store: TowerStore, items: np.ndarray, rows: View | None) -> Tensor:
        """The pooled features `[n, D]` of some items: from the store, and computed where it lacks them."""
        pooled = store.stores["pooled"]
        distinct, back = np.unique(items, return_inverse=True)
        places = pooled.find(distinct)
        lacks = store.lacking(items)["pooled"]
        values: Tensor | None = None
        if (places >= 0).any():
            found = pooled.take(places[places >= 0])[0].flatten(1)
            values = found.new_zeros(len(distinct), found.shape[1])
            values[torch.from_numpy(places >= 0)] = found
        if lacks.any():
            assert rows is not None
            order = _lacking_by_length(rows, lacks)
            for cut, inputs in batches(store.view, rows, order, 64):
                said = store.compute(items[cut], inputs, {"pooled": np.ones(len(cut), bool)})
                values = said.new_zeros(len(distinct), said.shape[1]) if values is None else values
                values[torch.from_numpy(back[cut])] = said
        assert values is not None
        return values[torch.from_numpy(back)]


def embed_table(
    model: Model,
    table: Dataset,
    folder: str | Path,
    *,
    fingerprint: str,
    shard_rows: int = SHARD_ROWS,
    precision: Precision = "auto",
    dtype: torch.dtype = torch.float16,
    threads: int | None = None,
    part: tuple[int, int] = (0, 1),
    bad: BadRows | None = None,
    progress: Progress | None = None,
) -> None:
    """Embed the images and texts of a table into an archive: after `Archive.begin`, before `finish`.

    Args:
        model: in eval mode.
        table: as `open_table` gives it.
        folder: of the archive; shards that are there already, of the same model and rows, are kept.
        fingerprint: of the model.
        shard_rows: images of a shard.
        precision, dtype, threads: see `Archiver`.
        part: (number, of how many): of several processes each makes every so-many-th shard.
        bad: told of images that cannot be decoded.
        progress: told (rows done, rows in all, items embedded so far), of this part.

    Raises:
        OSError: if the disk is full; what is there is kept.
    """
    folder = Path(folder)
    with Archiver(model, fingerprint=fingerprint, precision=precision, dtype=dtype, threads=threads) as archiver:
        starts = range(0, len(table), shard_rows)[part[0] :: part[1]]
        total = sum(min(shard_rows, len(table) - start) for start in starts)
        count = [0, 0]

        def done(rows: int, items: int) -> None:
            count[0] += rows
            count[1] += items
            if progress:
                progress(count[0], total, count[1])

        for start in starts:
            block = table.select(range(start, min(start + shard_rows, len(table))))
            shard, key = Shard(folder, start // shard_rows), archiver.key(block)
            facts = shard.facts()
            if facts is None or facts.key != key:
                rows, vectors, facts = archiver.shard(block, key, start, done)
                shard.write(rows, vectors, facts)
                give_back_memory()
            else:
                done(len(block), 0)
            if bad is not None:
                bad.extend(facts.bad)


def finish(
    folder: Path,
    rows: int,
    *,
    fingerprint: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    source: str = "",
    shard_rows: int = SHARD_ROWS,
) -> Archive:
    """Write `archive.json` of shards that are all there.

    Args:
        folder: of the archive.
        rows: of the table.
        fingerprint, shard_rows: as `embed_table` was given them.
        name, options: what the model was opened by and with.
        source: what the table is, in words.

    Raises:
        ArchiveError: if a shard is missing, of another model, or of another precision, or none of them has a row.
    """
    shards = [Shard(folder, number) for number in range(-(-rows // shard_rows))]
    facts = [one for shard in shards if (one := shard.facts()) is not None]
    if len(facts) < len(shards):
        missing = [shard.number for shard in shards if shard.facts() is None]
        raise ArchiveError(f"shards {missing[:5]} of {folder} are not there: give the same command again")
    if {one.fingerprint for one in facts} != {fingerprint}:
        raise ArchiveError(f"{folder} was written by two models at once: give the command again")
    chosen = {(view, kind) for one in facts for view, kind in one.precision.items()}
    if len(chosen) > len(dict(chosen)):
        raise ArchiveError(
            f"the shards of {folder} were made on different machines, in different precisions: give --precision, "
            "so that the others are made again"
        )
    if not sum(one.rows for one in facts):
        raise ArchiveError(f"none of the {rows:,} rows could be embedded: see the bad rows")
    archive = Archive(
        folder,
        model=name,
        fingerprint=fingerprint,
        precision=dict(chosen),
        options=dict(options or {}),
        source=source,
        widths={name: width for name, (_, width) in shards[0].spaces().items()},
        shards=len(shards),
        rows=sum(one.rows for one in facts),
        texts=sum(one.texts for one in facts),
        cut_texts=sum(one.cut_texts for one in facts),
    )
    archive.write()
    return archive


def _chunks(
    block: Dataset, processor: ImageProcessor, store: TowerStore | None, threads: int, *, always: bool
) -> Generator[Chunk]:
    """The block's images, chunk by chunk, decoded always, or where the store lacks any of them."""
    size = int(np.prod(processor.shape))
    rows = max(1, min(1024, CHUNK_BYTES // size))
    column = block.select_columns([processor.column])
    for start in range(0, len(block), rows):
        cut = slice(start, min(start + rows, len(block)))
        own = column.select(range(cut.start, cut.stop))
        key = hash_of("names", describe(processor), content_of(own, processor.column))
        known = find_stored(key, NAMES)
        if known is not None and not always:
            troubles = {row: (reason, detail) for row, (reason, detail) in known.note}
            good = _without(len(own), troubles)
            items = known.arrays["items"].reshape(-1).view("S16")[good]
            if store is None or not store.lacking(items)["pooled"].any():
                yield Chunk(cut, items, good, troubles, None)
                continue
        pixels, troubles = _decode(own, processor, threads)
        good = _without(len(own), troubles)
        names = hashes_of({"pixels": torch.from_numpy(pixels)})
        if known is None:
            _remember(key, names, troubles)
        yield Chunk(cut, names[good], good, troubles, Arrays({"pixels": pixels[good] if troubles else pixels}))


def _remember(key: str, names: np.ndarray, troubles: Mapping[int, tuple[str, str]]) -> None:
    """Keep what a chunk's images are called, so that they need not be decoded to be found."""
    content = {"items": names.view(np.uint8).reshape(-1, 16)}
    stored(key, len(names), NAMES, lambda: [(slice(None), content)], lambda: list(troubles.items()))


def _decode(column: Dataset, processor: ImageProcessor, threads: int) -> tuple[np.ndarray, dict[int, tuple[str, str]]]:
    """Pixels `[n, C, H, W]`, zeros where there are none, and row -> reason and detail of those."""
    values = column[:][processor.column]
    pixels = np.zeros((len(values), *processor.shape), np.uint8)
    troubles: dict[int, tuple[str, str]] = {}

    def one(row: int) -> None:
        try:
            pixels[row] = processor.one(values[row])
        except BadImage as error:
            troubles[row] = (error.reason, error.detail)

    for _ in in_order(one, range(len(values)), threads=threads):
        pass
    return pixels, troubles


def _some_pixels(block: Dataset, processor: ImageProcessor) -> Tensor | None:
    """The first images that can be decoded, a few; None if none can."""
    found = []
    for row in block.select_columns([processor.column]):
        try:
            found.append(torch.from_numpy(processor.one(row[processor.column]).copy()))  # type: ignore[index, call-overload]
        except BadImage:
            continue
        if len(found) == TRIED:
            break
    return torch.stack(found) if found else None


def _width(model: Model, view: str) -> int:
    width = model.towers[model.route(view).tower].width
    assert isinstance(width, int)
    return width


def _without(count: int, rows: Mapping[int, Any]) -> np.ndarray:
    good = np.ones(count, bool)
    good[list(rows)] = False
    return good


def _lacking_by_length(rows: View, lacks: np.ndarray) -> np.ndarray:
    lengths = getattr(rows, "lengths", None)
    order = np.flatnonzero(lacks)
    return order if lengths is None else order[np.argsort(-lengths[order], kind="stable")]


def _row_table(rows: Dataset, numbers: np.ndarray) -> pa.Table:
    """The rows without bytes of images and sounds: `_row`, `_image` (its path), and the table's other columns."""
    table: Any = rows.select_columns([*_plain(rows), "image"]).with_format("arrow")[:]
    paths = [chunk.field("path") for chunk in table.column("image").chunks]
    ours = {"_row": pa.array(numbers), "_image": pa.chunked_array(paths, pa.string())}
    taken = sorted(set(ours) & set(table.column_names))
    if taken:
        raise ValueError(f"the table has the columns {taken}, which the archive keeps for itself: rename them")
    return pa.table({**ours, **{name: table.column(name) for name in table.column_names if name != "image"}})


def _plain(rows: Dataset) -> list[str]:
    """The columns that hold neither images nor sounds."""
    return [name for name, kind in rows.features.items() if not isinstance(kind, DecodedImage | Audio)]
