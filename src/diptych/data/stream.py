"""A stream: batches from shards read one after another, for collections too large for a table or not on this disk.

An epoch takes the shards in an order drawn from (key, epoch). Each is read once from first to last; its pairs
go through a buffer from which they are drawn at random, are decoded and tokenized ahead of the training step, and
are cut into batches. So order is random among shards and within the buffer, not over the whole collection, and
a run that was stopped goes on at the start of a shard: it may see some pairs twice. What needs all rows at
once (mining, balancing, bucketing, surveys, stored features) needs a table.

Several processes: of every `size` shards of the order each process reads one. Where the last ones are fewer than
`size`, all processes read them and take turns at their pairs. All have the same number of batches, each its pairs in
nearly equal shares; where images prove bad or pairs are few, a process may have none in a batch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, count, islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from diptych.core.batch import Batch
from diptych.core.model import Processor
from diptych.data.bad_rows import BadRows
from diptych.data.crop import RandomCrop
from diptych.data.dealing import Open, batches_for, chunks, evenly, pairs_left, part_of, shard_order, shuffled
from diptych.data.images import BadImage
from diptych.data.keys import hash63, normalise
from diptych.data.processors import ImageProcessor
from diptych.data.sources.columns import Columns
from diptych.data.sources.shards import Pair, count_pairs, list_shards, read_pairs, shard_columns
from diptych.data.threads import beforehand, in_order, usable_cores

log = logging.getLogger(__name__)

_CHUNK = 8
"""Pairs that a thread decodes at a time: few enough to share out, enough to make handing them over cheap."""


@dataclass(frozen=True, order=True)
class Place:
    """Where an epoch can be gone on from; of the places of several processes, the least.

    Attributes:
        shard: place in the epoch's order of the first shard that is not over and done with; 0 is the beginning.
        batch: how many batches of the epoch come before it: the number of the next one.
    """

    shard: int = 0
    batch: int = 0


BEGINNING = Place()


@dataclass(frozen=True)
class Drawn:
    """A pair on its way: its place in the epoch's order, its number for `Batch.items`, and itself."""

    place: int
    item: int
    pair: Pair


@dataclass(frozen=True)
class Stream:
    """Shards, and how batches are made of them; see `open_stream`.

    Attributes:
        shards: paths or URLs.
        columns: which of their columns are image, text and id.
        processors: of the towers `"image"` (an `ImageProcessor`) and `"text"`; to be fitted before `batches`.
        batch_size: pairs of a batch, over all processes.
        texts_per_image: texts drawn of each pair in an epoch, without repetition.
        key: what order and draws depend on besides the epoch, such as (seed, phase).
        buffer: pairs that are held to draw from, not decoded: the more, the better neighbours in a shard are parted;
            2,048 photographs of 100 KB take 200 MB.
        crop: take a random part of every image, another each epoch.
        split: only pairs whose column `split` says this.
        samples_per_epoch: pairs that an epoch takes where shards cannot be counted, or as many are wanted: shards
            are begun again, in another order, or left, as it needs. None counts them: an epoch is every pair once.
        threads: that decode; None is one for each core of this process, 0 decodes between the steps.
        ahead: batches made before they are asked for; 0 is none.
        bad: takes what is set aside, with shard and sample named.

    Raises:
        ValueError: if a number is too small.
        TypeError: if the images' processor is no `ImageProcessor`.
    """

    shards: Sequence[str]
    columns: Columns
    processors: Mapping[str, Processor]
    batch_size: int = 256
    texts_per_image: int = 1
    key: tuple[int, ...] = (0,)
    buffer: int = 2048
    crop: RandomCrop | None = None
    split: str | None = None
    samples_per_epoch: int | None = None
    threads: int | None = None
    ahead: int = 2
    bad: BadRows = field(default_factory=BadRows)

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "texts_per_image": 1, "buffer": 1, "samples_per_epoch": 1, "threads": 0, "ahead": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ValueError(f"{name} is {value}; it must be at least {smallest}")
        if not isinstance(self.processors["image"], ImageProcessor):
            raise TypeError(f"a stream decodes by an ImageProcessor, not by {type(self.processors['image']).__name__}")

    def texts(self, limit: int = 100_000) -> list[str]:
        """The first texts of the shards, `limit` at most, for a `TextProcessor` to learn its vocabulary from."""
        read = partial(read_pairs, columns=self.columns, bad=self.bad, split=self.split, images=False)
        return list(islice((text for shard in self.shards for pair in read(shard) for text in pair.texts), limit))

    def steps(self, epoch: int, size: int = 1) -> int:
        """How many batches an epoch has in `size` processes; with uneven shards one epoch may have more than another.

        Raises:
            TableError: if shards must be counted and one is remote.
            ValueError: if there is no pair.
        """
        if self.samples_per_epoch is not None:
            return -(-self.samples_per_epoch // self.batch_size)
        steps = int(batches_for(self._left(epoch, size)[0], self.batch_size))
        if not steps:
            raise ValueError(f"{self._about()} holds no pairs. {self.bad.summary()}")
        return steps

    def number(self, epoch: int, start: Place, size: int = 1) -> int:
        """The number in the epoch of the first batch from a place on: `start.batch`, if `size` is as it was there."""
        if self.samples_per_epoch is not None:
            return start.batch
        steps = batches_for(self._left(epoch, size), self.batch_size)
        return int(steps[0] - steps[start.shard])

    def batches(
        self, epoch: int, start: Place = BEGINNING, rank: int = 0, size: int = 1
    ) -> Generator[tuple[Batch, Place]]:
        """The batches of one process from `start` to the epoch's end, each with where to go on if it was the last.

        What they hold depends on the arguments and the stream alone. From a place on, the epoch takes all pairs of
        that shard and of those after it; those of them that were taken before the place was reached come again.

        Args:
            epoch: from 0.
            start: the beginning, or the least of the places that the processes had reached.
            rank, size: number of this process, and of processes.

        Yields:
            The batch, with the views `"image"` and `"text"` (an image's keys are its id and all its texts, so a text
            is a positive of every image it stands under), and the place after it.

        Raises:
            TableError: if shards must be counted and one is remote.
            ValueError: if a batch has fewer pairs than there are processes, or no pair can be used.
        """
        if self.batch_size < size:
            raise ValueError(f"batch_size is {self.batch_size}; {size} processes need at least one pair each")
        return beforehand(self._make(epoch, start, rank, size), self.ahead)

    def _about(self) -> str:
        """The stream in a few words."""
        split = "" if self.split is None else f"split {self.split!r} of "
        return f"{split}{len(self.shards):,} shards from {self.shards[0]} on"

    @cached_property
    def _counts(self) -> np.ndarray:
        return np.array(count_pairs(self.shards, self.columns, split=self.split))

    def _left(self, epoch: int, size: int) -> np.ndarray:
        """Pairs of counted shards that each process has left, from each place on."""
        return pairs_left(self._counts[shard_order(len(self.shards), self.key, epoch, 0)], size=size)

    def _make(self, epoch: int, start: Place, rank: int, size: int) -> Generator[tuple[Batch, Place]]:
        steps, done = self.steps(epoch, size), self.number(epoch, start, size)
        after, shares = None, [len(range(rank, self.batch_size, size))] * (steps - done)
        if self.samples_per_epoch is None:
            left = self._left(epoch, size)
            after = steps - batches_for(left, self.batch_size)
            shares = evenly(int(left[start.shard, rank]), steps - done)
        threads = max(1, usable_cores() // size) if self.threads is None else self.threads
        opened = Open(reached=start.shard)
        drawn = self._draw(epoch, start.shard, rank, size, opened)
        with closing(in_order(partial(self._decode, epoch), chunks(drawn, _CHUNK), threads=threads)) as decoded:
            good = self._good(chain.from_iterable(decoded), start.shard, opened)
            for number, share in enumerate(shares, start=done):
                rows = list(islice(good, share))
                if not rows and size == 1 and number > 0:  # images proved bad: fewer are there than were counted
                    break
                if not rows and size == 1:
                    raise ValueError(f"no pair of {self._about()} can be used. {self.bad.summary()}")
                first = opened.first()
                yield self._batch(epoch, rows), Place(first, number + 1 if after is None else int(after[first]))

    def _draw(self, epoch: int, first: int, rank: int, size: int, opened: Open) -> Iterator[Drawn]:
        """The pairs of one process from the shard at place `first` on, out of the buffer; each turn to its end."""
        random = np.random.default_rng([*self.key, epoch, first, rank, 1])
        for turn in count(first // len(self.shards)):
            found = first > turn * len(self.shards)  # of a turn begun in its midst, the rest may well be empty
            for drawn in shuffled(self._read(epoch, turn, first, rank, size, opened), self.buffer, random):
                found = True
                yield drawn
            if self.samples_per_epoch is None or not found:
                break

    def _read(self, epoch: int, turn: int, first: int, rank: int, size: int, opened: Open) -> Iterator[Drawn]:
        """The pairs of one process in one turn, as they lie in the shards."""
        shards = len(self.shards)
        for at, number in enumerate(map(int, shard_order(shards, self.key, epoch, turn))):
            place = turn * shards + at
            part = part_of(at, shards, sys.maxsize, rank=rank, size=size)
            if place >= first and part:
                opened.add(place, 1)
                pairs = enumerate(read_pairs(self.shards[number], self.columns, self.bad, split=self.split))
                for i, pair in islice(pairs, part.start, None, part.step):
                    opened.add(place, 1)
                    yield Drawn(place, hash63(f"{number}:{i}"), pair)
                opened.reached = place + 1
                opened.add(place, -1)
        opened.reached = max(opened.reached, (turn + 1) * shards)

    def _decode(self, epoch: int, chunk: Sequence[Drawn]) -> list[tuple[Drawn, np.ndarray | BadImage]]:
        """The pixels of some pairs, `[C, H, W]` uint8 each, or why there are none."""
        processor = cast(ImageProcessor, self.processors["image"])
        pixels = np.empty((len(chunk), *processor.shape), np.uint8)
        out: list[tuple[Drawn, np.ndarray | BadImage]] = []
        for one, own in zip(chunk, pixels, strict=True):
            try:
                random = self._random(epoch, one, 1) if self.crop else None
                own[:] = processor.one(one.pair.image, crop=self.crop, random=random)
                out.append((one, own))
            except BadImage as error:
                out.append((one, error))
        return out

    def _good(
        self, decoded: Iterable[tuple[Drawn, np.ndarray | BadImage]], first: int, opened: Open
    ) -> Iterator[tuple[Drawn, np.ndarray]]:
        """The pairs whose images are good; the others are set aside."""
        none_yet = True
        for drawn, pixels in decoded:
            opened.add(drawn.place, -1)
            if not isinstance(pixels, BadImage):
                none_yet = False
                yield drawn, pixels
                continue
            self.bad.add(None, drawn.pair.where, pixels.reason, pixels.detail)
            if none_yet and drawn.place >= first + 2 * len(self.shards):
                break  # each was read once at least, and to read on would never end

    def _batch(self, epoch: int, rows: Sequence[tuple[Drawn, np.ndarray]]) -> Batch:
        texts, owners, image_keys, text_keys = [], [], [], []
        for i, (drawn, _) in enumerate(rows):
            own = drawn.pair.texts
            id_key, keys = hash63("id:" + drawn.pair.id), [hash63("text:" + normalise(text)) for text in own]
            chosen: Sequence[int] = range(len(own))
            if len(own) > self.texts_per_image:
                chosen = self._random(epoch, drawn, 0).permutation(len(own))[: self.texts_per_image].tolist()
            texts += [own[k] for k in chosen]
            owners += [i] * len(chosen)
            text_keys += [[id_key, keys[k]] for k in chosen]
            image_keys.append(list(dict.fromkeys([id_key, *keys])))
        width = max(map(len, image_keys), default=1)
        items = torch.tensor([drawn.item for drawn, _ in rows], dtype=torch.int64)
        shape = cast(ImageProcessor, self.processors["image"]).shape
        pixels = np.stack([own for _, own in rows]) if rows else np.zeros((0, *shape), np.uint8)
        return Batch(
            {"image": {"pixels": torch.from_numpy(pixels)}, "text": self.processors["text"](texts)},
            {
                "image": _matrix([[*keys, *[-1] * (width - len(keys))] for keys in image_keys], width),
                "text": _matrix(text_keys, 2),
            },
            {"image": items, "text": items[torch.tensor(owners, dtype=torch.int64)]},
        )

    def _random(self, epoch: int, drawn: Drawn, use: int) -> np.random.Generator:
        """Randomness of one pair in one epoch, whoever takes it and when."""
        return np.random.default_rng([*self.key, epoch, drawn.item, use])


def open_stream(
    source: str | Path,
    processors: Mapping[str, Processor],
    *,
    image_column: str | None = None,
    text_column: str | None = None,
    id_column: str | None = None,
    split: str | None = None,
    samples_per_epoch: int | None = None,
    bad: BadRows | None = None,
) -> Stream:
    """Open shards as a stream; `dataclasses.replace` sets what else a `Stream` has.

    Args:
        source: a folder of tars in WebDataset's layout or of Parquet files, one such file, a pattern such as
            "shards/{0000..0123}.tar", or a URL that `fsspec` opens ("s3://bucket/{0000..0123}.tar"; the storage's
            own package, such as s3fs, must be installed).
        processors: of the model's towers.
        image_column, text_column, id_column: as for `open_table`; guessed from the first shard if None.
        split: take only the pairs whose column `split` says this.
        samples_per_epoch: needed for remote shards, which cannot be counted; see `Stream`.
        bad: takes what is set aside.

    Raises:
        TableError: if there are no such shards, none can be read, or a column is missing or ambiguous.

    Example:
        >>> stream = open_stream("shards/{0000..0123}.tar", model.processors)  # doctest: +SKIP
        >>> model.processors["text"].fit(stream.texts())  # doctest: +SKIP
        >>> for batch, place in stream.batches(epoch=0): ...  # doctest: +SKIP
    """
    shards = list_shards(source)
    columns = shard_columns(shards, image=image_column, text=text_column, id=id_column)
    stream = Stream(
        shards,
        columns,
        processors,
        split=split,
        samples_per_epoch=samples_per_epoch,
        bad=BadRows() if bad is None else bad,
    )
    log.info(
        "%s: a stream of %d shards: their order is random, and that of their pairs within a buffer of %d; a run that "
        "is stopped goes on at the start of a shard, so it may see some pairs twice; what needs all rows at once "
        "(mining, balancing, bucketing, surveys, stored features) needs a table",
        source,
        len(shards),
        stream.buffer,
    )
    return stream


def _matrix(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, width)
