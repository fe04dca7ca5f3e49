"""Texts to the token ids that open_clip's tokenizers give: CLIP's own vocabulary, or a tokenizer of `transformers`.

    ids = tokenizer(clean(text))

`clean` mends broken unicode and HTML entities and folds white space, and with `"lower"` the case, with `"canonicalize"`
case and punctuation. Use it for towers of open_clip; a folder or the hub is needed to make one, never to rebuild it.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, Self

import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from diptych.data.processors import TooLong, pad_ragged, refuse_long

Clean = Literal["lower", "whitespace", "canonicalize"]


def open_clip_library() -> ModuleType:
    """The package `open_clip`, imported when it is needed: that takes seconds.

    Raises:
        ModuleNotFoundError: if it is missing; the message says how to install it.
    """
    try:
        import open_clip
        import open_clip.tokenizer
    except ImportError as error:
        raise ModuleNotFoundError("open_clip is missing: pip install 'diptych[open-clip]'") from error
    return open_clip


class OpenClipTokenizer:
    """Texts to token ids, as open_clip's tokenizers give them.

    Args:
        definition: a tokenizer of `transformers` as the JSON of `tokenizers`; None for CLIP's own vocabulary, which
            comes with open_clip.
        clean: what is done to a text first.
        max_length: tokens kept of a text, the last one included; longer texts are cut and counted.
        pad_id: what fills up shorter rows; those places have mask False.
        fill: tokens that every row is filled up to, for towers that read their padding too; None for no more than the
            longest of the batch.
        zeroed: an id that becomes 0 (CLIPA's towers know no separator); None for none.
        stop_at: a row ends at the first of these ids, if its text has one written out; None for as it stands. For
            towers that pool at the first of them but do not look for it.
        too_long: what becomes of longer texts: `"cut"`, and counted, or an `"error"`.
        column: the table's column to read.

    Example:
        `OpenClipTokenizer()(["a dog"])["ids"]` is `[[49406, 320, 1929, 49407]]`.
    """

    def __init__(
        self,
        definition: str | None = None,
        *,
        clean: Clean = "lower",
        max_length: int = 77,
        pad_id: int = 0,
        fill: int | None = None,
        zeroed: int | None = None,
        stop_at: int | None = None,
        too_long: TooLong = "cut",
        column: str = "text",
    ) -> None:
        if fill is not None and fill < max_length:
            raise ValueError(f"rows are filled up to {fill} tokens, fewer than max_length, {max_length}")
        library = open_clip_library()
        self.definition, self.max_length, self.pad_id, self.fill = definition, max_length, pad_id, fill
        self.clean: Clean = clean
        self.too_long: TooLong = too_long
        self.zeroed, self.stop_at, self.column = zeroed, stop_at, column
        self._clean = library.tokenizer.get_clean_fn(clean)
        if definition is None:
            self._tokenizer: Any = library.tokenizer.SimpleTokenizer(clean=clean)
        else:
            self._tokenizer = Tokenizer.from_str(definition)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()

    @property
    def fixed_length(self) -> int | None:
        """Tokens of every row, with its padding; None where rows are as long as the longest of the batch."""
        return self.fill

    def fit(self, values: Sequence[str]) -> Self:
        """Nothing to learn."""
        return self

    def encode(self, values: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Token ids of each text (int32, at most `max_length`), and `[N]` bool: which texts were cut.

        Raises:
            ValueError: if a text is too long and `too_long` is "error".
        """
        ids, cut = (self._own if self.definition is None else self._ready)(values)
        refuse_long(values, cut, self.max_length, self.too_long)
        rows = [np.array(one, dtype=np.int32) for one in ids]
        for i, row in enumerate(rows):
            if self.zeroed is not None:
                row[row == self.zeroed] = 0
            if self.stop_at is not None:
                ends = np.flatnonzero(row == self.stop_at)
                rows[i] = row[: ends[0] + 1] if len(ends) else row
        return rows, cut

    def _own(self, values: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """By CLIP's vocabulary; a text that is cut keeps its end."""
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        ids = [[start, *self._tokenizer.encode(text), end] for text in values]
        cut = np.array([len(one) > self.max_length for one in ids], dtype=bool)
        return [[*one[: self.max_length - 1], end] if long else one for one, long in zip(ids, cut, strict=True)], cut

    def _ready(self, values: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """By a ready tokenizer; a text that is cut keeps the marks that the tokenizer puts around it."""
        texts = [self._clean(text) for text in values]
        ids = [one.ids for one in self._tokenizer.encode_batch_fast(texts)]
        cut = np.array([len(one) > self.max_length for one in ids], dtype=bool)
        if cut.any():
            self._tokenizer.enable_truncation(self.max_length)
            for i in np.flatnonzero(cut):
                ids[i] = self._tokenizer.encode(texts[i]).ids
            self._tokenizer.no_truncation()
        return ids, cut

    def __call__(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Texts to `{"ids": [N, T] int64, "mask": [N, T] bool}`, padded to the longest of them or to `fixed_length`."""
        return pad_ragged(self.encode(values)[0], self.pad_id, self.fixed_length)
