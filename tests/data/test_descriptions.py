"""Held-out captions become a description; descriptions are read by the texts' tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from diptych.core.configuration import build, describe
from diptych.data.descriptions import DescriptionProcessor, described_by_captions
from diptych.data.processors import TextProcessor

TABLE = {"id": ["a", "b"], "text": [["one .", "two words", "three."], ["x", "y y", " z "]], "n": [1, 2]}


def test_the_last_captions_are_joined_and_ask_no_more():
    table = described_by_captions(Dataset.from_dict(TABLE), held=2)
    assert table["text"][:] == [["one ."], ["x"]] and table["n"][:] == [1, 2]
    assert table["description"][:] == ["two words. three.", "y y. z."]
    assert table.column_names == ["id", "text", "n", "description"]


def test_rows_that_would_be_left_without_a_caption_are_named():
    table = Dataset.from_dict({"id": ["a", "b"], "text": [["1", "2"], ["3"]]})
    with pytest.raises(ValueError, match=r"row 1 \(b\) has 1 captions and 1 are to be its description"):
        described_by_captions(table, held=1)
    with pytest.raises(ValueError, match="held is 0"):
        described_by_captions(table, held=0)
    with pytest.raises(ValueError, match="a column 'id' already"):
        described_by_captions(table, held=1, column="id")


def test_its_tokens_are_those_of_the_texts_tokenizer_however_long():
    words = TextProcessor(300, max_length=4)
    processor = DescriptionProcessor(words, max_length=9)
    words.fit(["a dog runs", "two dogs"])
    said = ["a dog runs after two dogs", "dog"]
    rows, cut = processor.encode(said)
    long = TextProcessor(300, max_length=99, definition=words.definition)
    whole, _ = long.encode(said)
    assert [len(row) for row in rows] == [min(len(row), 9) for row in whole] and cut.tolist() == [
        len(whole[0]) > 9,
        False,
    ]
    np.testing.assert_array_equal(rows[1], whole[1])
    again = build(describe(processor))
    np.testing.assert_array_equal(again.encode(said)[0][0], rows[0])
    with pytest.raises(ValueError, match="max_length is 1"):
        DescriptionProcessor(words, max_length=1)
