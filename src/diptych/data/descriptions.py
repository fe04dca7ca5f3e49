"""Texts in the place of pictures: a column of descriptions as the view `"image"`, and one made of held-out captions.

A gallery need not be pixels. What a captioner, a language model or a person wrote of each picture is tokenized like
any text, and stands where the picture would (recipe `lexiclip`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from datasets import Dataset
from torch import Tensor

from diptych.data.processors import TextProcessor, pad_ragged

DESCRIPTION = "description"


class DescriptionProcessor:
    """Descriptions to token ids, by the tokenizer of the texts that ask for them.

    Args:
        text: the tokenizer; when it learns its vocabulary, this has it too.
        max_length: tokens kept of a description, which is longer than a query.
        column: the table's column of descriptions, one string a row.
    """

    def __init__(self, text: TextProcessor, *, max_length: int = 128, column: str = DESCRIPTION) -> None:
        if max_length < 2:
            raise ValueError(f"max_length is {max_length}; it must be at least 2")
        self.text, self.max_length, self.column = text, max_length, column

    @property
    def pad_id(self) -> int:
        """What fills up shorter rows."""
        return self.text.pad_id

    @property
    def fixed_length(self) -> int | None:
        """None: rows are as long as the longest of the batch."""
        return None

    def fit(self, values: Sequence[Any]) -> Self:
        """Nothing: the texts' tokenizer learns."""
        return self

    def encode(self, values: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Token ids of each description, and `[N]` bool: which were cut; raises as `TextProcessor.encode` does."""
        own = TextProcessor(
            self.text.vocab_size,
            max_length=self.max_length,
            lowercase=self.text.lowercase,
            definition=self.text.definition,
            pad_id=self.pad_id,
            too_long=self.text.too_long,
            stop_id=self.text.stop_id,
        )
        return own.encode(values)

    def __call__(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Descriptions to `{"ids": [N, T] int64, "mask": [N, T] bool}`."""
        return pad_ragged(self.encode(values)[0], self.pad_id)


def described_by_captions(table: Dataset, *, held: int, column: str = DESCRIPTION) -> Dataset:
    """The table with the last `held` captions of every row taken away and joined to its description.

    What a vision-language model would write of a picture is so replaced by what people wrote of it, and no query is
    part of its own description.

    Args:
        table: with a column `text` of lists of strings.
        held: captions of a row that become its description.
        column: name of the new column.

    Raises:
        ValueError: if a row has not more captions than that, naming the first such row, or the column is there.

    Example:
        >>> table = Dataset.from_dict({"id": ["a"], "text": [["a dog", "a brown dog", "dog on grass"]]})
        >>> described_by_captions(table, held=2)[0]
        {'id': 'a', 'text': ['a dog'], 'description': 'a brown dog. dog on grass.'}
    """
    if held < 1:
        raise ValueError(f"held is {held}; it must be at least 1")
    if column in table.column_names:
        raise ValueError(f"the table has a column {column!r} already: give another name")
    texts: Sequence[Sequence[str]] = table["text"][:]
    for row, own in enumerate(texts):
        if len(own) <= held:
            raise ValueError(
                f"row {row} ({table['id'][row]}) has {len(own)} captions and {held} are to be its description: none "
                f"would be left to ask with; leave such rows out, or hold fewer"
            )
    said = [" ".join(f"{one.strip().rstrip('.').strip()}." for one in own[-held:]) for own in texts]
    left = [list(own[:-held]) for own in texts]
    feature = table.features["text"]
    others = [name for name in table.column_names if name != "text"]
    changed = table.select_columns(others).add_column("text", left, feature=feature).add_column(column, said)  # type: ignore[call-arg]
    return changed.select_columns([*table.column_names, column])
