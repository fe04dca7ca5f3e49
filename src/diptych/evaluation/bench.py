"""One model on one table: what every task that is measured there has in common, made once.

    bench.image, bench.text      of the table's pictures and captions, embedded when they are first asked for, and kept
    bench.texts([...])           of any words (class names in sentences): each distinct string is embedded once
    bench.images([...])          of pictures that a task made (corrupted, cut, rotated)

Towers that are frozen are read from the store of features, as everywhere (`diptych.models.embed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from diptych.core.embedding import Embedding
from diptych.core.model import Model
from diptych.core.scorer import Scorer
from diptych.data.bad_rows import BadRows
from diptych.data.pairs import Pairs, prepare, tokenize
from diptych.data.processors import ImageProcessor
from diptych.data.views import Arrays, View
from diptych.evaluation.evaluate import labels_of
from diptych.evaluation.hashes import hash_of_rows
from diptych.models.embed import Progress, embed, frozen_features


class Bench:
    """A model and the rows it is measured on.

    Args:
        model: in eval mode.
        rows: a table as `open_table` gives it; rows without a text are taken too.
        scorer: name of the part that ranks.
        training_rows: gives the rows of the same collection that may be learned from; None where there are none.
        folder: where the table lies, for the files that a task names beside it.
        bad: told of images that cannot be decoded; those rows are left out.
        images: told how many images are decoded.
        rows_done: told (view, rows embedded, rows in all).

    Attributes:
        model, folder: as given.
        asked: the strings that were embedded by `texts`, in the order in which they were first asked for, captions of
            the table apart; whoever wants to know what one task asked clears it before.

    Raises:
        ValueError: if no row is usable (when the rows are first needed).

    Example:
        >>> Bench(model, open_table("symbols")).image.dense.shape  # doctest: +SKIP
        torch.Size([45627, 256])
    """

    def __init__(
        self,
        model: Model,
        rows: Dataset,
        *,
        scorer: str = "dot",
        training_rows: Callable[[], Dataset] | None = None,
        folder: Path | None = None,
        bad: BadRows | None = None,
        images: Callable[[int, int], None] | None = None,
        rows_done: Progress | None = None,
    ) -> None:
        self.model, self.folder = model, folder
        self.asked: dict[str, None] = {}
        self._rows, self._scorer, self._training_rows, self._bad = rows, scorer, training_rows, bad
        self._images_told, self._rows_told = images, rows_done
        self._place: dict[str, int] = {}  # string -> line of _words
        self._words: list[Embedding] = []

    @cached_property
    def pairs(self) -> Pairs:
        """The good rows as views, and their keys; without a view of texts if the model has no tower for them."""
        return prepare(self._rows, self.model.processors, bad=self._bad, needs_text=False, progress=self._images_told)

    @property
    def table(self) -> Dataset:
        """The good rows; row i is line i of `image`."""
        return self.pairs.table

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns, without decoding any picture."""
        return list(self._rows.column_names)

    @cached_property
    def sha256(self) -> str:
        """Of the good rows; see `diptych.evaluation.hashes`."""
        return hash_of_rows(self.table)

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def captions(self) -> list[str]:
        """All texts of all rows, in the order of `text`; row `pairs.keys.owner[i]` has text i."""
        return [text for row in self.table["text"][:] for text in row]

    @cached_property
    def image(self) -> Embedding:
        """The embeddings of the rows' images, on the CPU."""
        return self._embedded("image", self.pairs.views["image"])

    @cached_property
    def text(self) -> Embedding:
        """The embeddings of `captions`, on the CPU.

        Raises:
            ValueError: if the table has no texts, or the model no tower for them.
        """
        if not self.captions:
            raise ValueError("the table has no texts; name their column by --text-column, or leave this task out")
        return self._words_of(self.captions)

    def texts(self, strings: Sequence[str]) -> Embedding:
        """The embeddings of any strings, a row each, on the CPU; each distinct string is embedded once and kept.

        Raises:
            ValueError: if there is none, or the model has no tower for texts.
        """
        self.asked.update(dict.fromkeys(strings))
        return self._words_of(strings)

    def images(self, values: Sequence[Any]) -> Embedding:
        """The embeddings of pictures that a task made, a row each, on the CPU; they are not kept in memory.

        Args:
            values: Pillow images, or values of a table's column of images.

        Raises:
            ValueError: if there is none, or the model reads no pictures.
            diptych.data.images.BadImage: if one cannot be decoded.
        """
        processor = self.model.processors["image"]
        if not isinstance(processor, ImageProcessor):
            raise ValueError(
                f"the model reads the column {processor.column!r} in place of pictures; it takes no others"
            )
        made = {name: tensor.numpy() for name, tensor in processor(values).items()}
        return self._embedded("image", Arrays(made), told=False)

    @property
    def scorer(self) -> Scorer:
        """The part that ranks.

        Raises:
            ValueError: if the model has no such part.
        """
        part = dict(self.model.parts).get(self._scorer)
        if not isinstance(part, Scorer):
            raise ValueError(f"the model has no scorer {self._scorer!r}; its parts are {sorted(self.model.parts)}")
        return part

    @cached_property
    def train(self) -> Bench:
        """The bench of the rows that may be learned from.

        Raises:
            ValueError: if there are none besides those that are measured.
        """
        if self._training_rows is None:
            raise ValueError(
                "this task learns from rows that are not measured, and there are none: give a table whose column "
                "'split' has 'train', or one without such a column (a tenth is then held out), and not --split all"
            )
        return Bench(
            self.model,
            self._training_rows(),
            scorer=self._scorer,
            folder=self.folder,
            bad=self._bad,
            images=self._images_told,
            rows_done=self._rows_told,
        )

    def column(self, name: str) -> list[Any]:
        """The values of a column, of the good rows.

        Raises:
            ValueError: if the table has none of that name.
        """
        if name not in self.table.column_names:
            raise ValueError(
                f"the table has no column {name!r}, which this task needs; it has {self.table.column_names}. Add it to "
                "the table, or name another in a card of your own"
            )
        return list(self.table[name][:])

    def labels(self, name: str = "label") -> list[str | None]:
        """The class name of each row; None where it has none. Numbered labels are given by their names.

        Raises:
            ValueError: if the table has no such column, or it names no class in any row.
        """
        self.column(name)
        found = labels_of(self.table, name)
        if not any(own is not None for own in found):
            raise ValueError(f"column {name!r} names no class in any of the {len(found):,} rows")
        return found

    def file(self, name: str) -> Path:
        """A file that lies beside the table.

        Raises:
            ValueError: if there is none.
        """
        file = (self.folder or Path()) / name
        if not file.is_file():
            raise ValueError(f"there is no file {file}, which this task reads; put it beside the table")
        return file

    def _words_of(self, strings: Sequence[str]) -> Embedding:
        fresh = [one for one in dict.fromkeys(strings) if one not in self._place]
        if fresh:
            processor = self.model.processors.get("text")
            if processor is None:
                raise ValueError(
                    "the model has no tower for texts, and this task reads them: put two together as IMAGE+TEXT"
                )
            view, _ = tokenize(fresh, processor)
            self._words = [Embedding.cat([*self._words, self._embedded("text", view)])]
            self._place.update({one: len(self._place) + i for i, one in enumerate(fresh)})
        if not strings:
            raise ValueError("there are no texts to embed")
        return self._words[0][torch.tensor([self._place[one] for one in strings])]

    def _embedded(self, view: str, rows: View, *, told: bool = True) -> Embedding:
        progress = self._rows_told if told else None
        return embed(self.model, view, frozen_features(self.model, view, rows, progress=progress), progress=progress)
