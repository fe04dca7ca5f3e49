"""Keys say which rows match: two rows are positives of each other if they share any key.

Rows with the same `id` match (two listings of one product), and so do equal texts (one caption, word
for word, under two images). Several keys a row are needed because sharing is not transitive.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Keys:
    """The keys of a table.

    Attributes:
        image: `[rows, K]` int64, -1 pads: the row's id, and those of its texts that other ids have too.
        text: `[texts, 2]` int64: the row's id, and the text itself.
        offsets: `[rows + 1]` int64: row i has the texts `offsets[i] : offsets[i + 1]`.
        owner: `[texts]` int64: the row of each text.
    """

    image: np.ndarray
    text: np.ndarray
    offsets: np.ndarray
    owner: np.ndarray


def make_keys(ids: Sequence[str], texts: Sequence[Sequence[str]], *, needs_text: bool = True) -> Keys:
    """Make the keys of a table's rows and of their texts.

    Args:
        ids: one a row.
        texts: the texts of each row; at least one each.
        needs_text: whether a row without a text is an error.

    Raises:
        ValueError: if the lengths differ or a row has no text.

    Example:
        >>> keys = make_keys(["a", "b"], [["a dog", "dogs"], ["A  dog"]])
        >>> bool(keys.text[0, 1] == keys.text[2, 1]), keys.owner.tolist()
        (True, [0, 0, 1])
    """
    if len(ids) != len(texts):
        raise ValueError(f"{len(ids)} ids for {len(texts)} rows of texts")
    counts = np.array([len(row) for row in texts], dtype=np.int64)
    if needs_text and len(counts) and counts.min() == 0:
        raise ValueError(f"row {int(counts.argmin())} (id {ids[int(counts.argmin())]!r}) has no text")
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    owner = np.repeat(np.arange(len(ids)), counts)
    row_key = np.array([hash63("id:" + one) for one in ids], dtype=np.int64)
    text_key = np.array([hash63("text:" + normalise(text)) for row in texts for text in row], dtype=np.int64)
    shared = _shared(text_key, row_key[owner])
    per_row: list[list[int]] = [[int(key)] for key in row_key]
    for text in np.flatnonzero(shared):
        mine = per_row[owner[text]]
        if int(text_key[text]) not in mine:
            mine.append(int(text_key[text]))
    image = np.full((len(ids), max(map(len, per_row), default=1)), -1, dtype=np.int64)
    for row, mine in enumerate(per_row):
        image[row, : len(mine)] = mine
    return Keys(image, np.stack([row_key[owner], text_key], 1).reshape(-1, 2), offsets, owner)


def _shared(text_key: np.ndarray, id_key: np.ndarray) -> np.ndarray:
    """Which texts stand, word for word, under more than one id."""
    pairs = np.unique(np.stack([text_key, id_key], 1), axis=0)
    values, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(text_key, values[counts > 1])


def normalise(text: str) -> str:
    """The form in which texts are compared: NFKC as tokenizers see it, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def hash63(text: str) -> int:
    """A hash in [0, 2^63), the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
