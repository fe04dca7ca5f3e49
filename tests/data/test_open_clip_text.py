"""The processor around open_clip's tokenizers: ids equal to theirs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from diptych.core.configuration import build, describe
from diptych.data.open_clip_text import Clean, OpenClipTokenizer
from diptych.data.processors import Tokenizing

open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra: pip install 'diptych[open-clip]'")

TEXTS = [
    "",
    "   ",
    "a dog",
    "  A\tDOG !\n runs, fast_er ",
    "caf\u00e9 &amp;amp; na\u00efve &lt;3 \ufb01sh",
    "sch\u00c3\u00b6n \u2019quoted\u2019",
    "\u65e5\u672c\u8a9e \U0001f415\u200d\U0001f9ba",
    "a <end_of_text> b <start_of_text>",
    "!?! !!! it's they'll 1234",
    "one two three four five six seven eight nine ten eleven twelve thirteen",
    "\x00\x1f zero",
]


def ready(folder: Path) -> Path:
    """A folder with a small tokenizer of `transformers`, cased, that puts a start and a separator around a text."""
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<pad>", "<unk>", "<cls>", "<sep>", *"abcdefghijklmnopqrstuvwxyzA!_,"])}
    tokenizer = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls> $A <sep>", special_tokens=[("<cls>", 2), ("<sep>", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", sep_token="<sep>").save_pretrained(folder)
    return folder


def padded(rows: list[np.ndarray], length: int) -> list[list[int]]:
    return [[*row.tolist(), *[0] * (length - len(row))] for row in rows]


@pytest.mark.parametrize("length", [3, 8, 77])
@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_clips_vocabulary_gives_the_ids_of_open_clip(clean: Clean, length: int):
    processor = OpenClipTokenizer(clean=clean, max_length=length)
    peer = open_clip.SimpleTokenizer(clean=clean, context_length=length)
    rows, cut = processor.encode(TEXTS)
    assert padded(rows, length) == peer(TEXTS).tolist()
    assert cut.tolist() == [len(peer.encode(text)) + 2 > length for text in TEXTS]
    assert isinstance(processor, Tokenizing)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_the_ids_of_open_clip(text: str):
    rows, _ = PROCESSOR.encode([text])
    assert padded(rows, 20) == open_clip.tokenizer.tokenize([text], 20).tolist()


PROCESSOR = OpenClipTokenizer(max_length=20)


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_a_ready_tokenizer_gives_the_ids_of_open_clip(clean: Clean, strip: bool, tmp_path: Path):
    folder = ready(tmp_path)
    processor = OpenClipTokenizer(
        (folder / "tokenizer.json").read_text(), clean=clean, max_length=12, zeroed=3 if strip else None
    )
    peer = open_clip.tokenizer.HFTokenizer(str(folder), context_length=12, clean=clean, strip_sep_token=strip)
    rows, cut = processor.encode(TEXTS)
    assert padded(rows, 12) == peer(TEXTS).tolist()
    assert cut[[0, 2, 9]].tolist() == [False, False, True]


def test_it_is_rebuilt_from_its_description(tmp_path: Path):
    definition = (ready(tmp_path) / "tokenizer.json").read_text()
    for processor in (
        OpenClipTokenizer(clean="canonicalize", max_length=9, stop_at=49407),
        OpenClipTokenizer(definition, clean="whitespace", max_length=9, pad_id=5, fill=11, zeroed=3),
    ):
        again = build(json.loads(json.dumps(describe(processor))))
        one, two = processor(TEXTS), again(TEXTS)
        assert one["ids"].tolist() == two["ids"].tolist() and one["mask"].tolist() == two["mask"].tolist()


def test_rows_are_filled_as_far_as_asked():
    inputs = OpenClipTokenizer(max_length=4, fill=6, pad_id=7)(["a dog", "a dog runs away"])
    assert inputs["ids"].tolist() == [[49406, 320, 1929, 49407, 7, 7]] * 2
    assert inputs["mask"].tolist() == [[True] * 4 + [False] * 2] * 2
    with pytest.raises(ValueError, match="filled up to 3 tokens, fewer than max_length, 4"):
        OpenClipTokenizer(max_length=4, fill=3)


def test_a_row_can_stop_at_an_end_that_is_written_out():
    rows, cut = OpenClipTokenizer(stop_at=49407).encode(["a <end_of_text> dog", "a dog"])
    assert [row.tolist() for row in rows] == [[49406, 320, 49407], [49406, 320, 1929, 49407]]
    assert not cut.any()


def test_long_texts_are_an_error_if_asked():
    strict = OpenClipTokenizer(max_length=4, too_long="error")
    assert strict(["a dog"])["ids"].shape == (1, 4)
    with pytest.raises(ValueError, match="1 of 2 texts have more than 4 tokens, the first 'a dog runs'"):
        strict(["a dog", "a dog runs"])
