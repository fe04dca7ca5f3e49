"""Tables become views and keys: good rows only, tokens as the tokenizer gives them, batches cut as asked."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.core.pairing import share_a_key
from diptych.data.bad_rows import BadRows
from diptych.data.keys import make_keys
from diptych.data.pairs import prepare
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.data.sources import open_table
from diptych.data.views import Ragged


def processors(texts: list[str]) -> dict:
    return {"image": ImageProcessor(16), "text": TextProcessor(300, max_length=12).fit(texts)}


@pytest.fixture
def broken(shapes: Path, tmp_path: Path) -> Path:
    """The shapes with one truncated and one missing picture, a blank caption and a very long one."""
    folder = tmp_path / "broken"
    shutil.copytree(shapes, folder)
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:60])
    (folder / "005.png").unlink()
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    lines[7]["text"] = [" ", "\t"]
    lines[8]["text"] = ["word " * 2000]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_bad_rows_are_set_aside_and_named(broken: Path):
    bad = BadRows()
    table = open_table(broken, bad=bad)
    pairs = prepare(table, processors(["a red circle"]), bad=bad)
    assert len(pairs) == 72 - 3
    assert {Path(row.where.split(",")[0]).name for row in bad} >= {"003.png", "metadata.jsonl"}
    assert bad.by_reason()["truncated image"] == 1 and len(bad) == 3
    assert pairs.cut_texts >= 1
    ids = pairs.table["id"][:]
    assert not {"003", "005", "007"} & set(ids)


def test_bad_images_are_named_again_from_the_store(broken: Path):
    table = open_table(broken)
    for _ in range(2):
        bad = BadRows()
        prepare(table, processors(["a"]), bad=bad)
        assert bad.by_reason() == {"truncated image": 1}


def test_bad_images_are_found_where_pixels_are_not_kept(broken: Path):
    bad = BadRows()
    pairs = prepare(open_table(broken), processors(["a"]), bad=bad, keep_pixels_under=0)
    assert bad.by_reason() == {"truncated image": 1}
    assert len(pairs.views["image"].take(np.arange(len(pairs)))["pixels"]) == len(pairs) == 69


def test_pixels_kept_and_pixels_made_on_demand_are_the_same(shapes: Path):
    table = open_table(shapes)
    kept = prepare(table, processors(["a"]))
    made = prepare(table, processors(["a"]), keep_pixels_under=0)
    rows = np.array([5, 0, 71])
    assert torch.equal(kept.views["image"].take(rows)["pixels"], made.views["image"].take(rows)["pixels"])


def test_no_usable_row_is_an_error(tmp_path: Path, shapes: Path):
    (tmp_path / "a.png").write_bytes((shapes / "000.png").read_bytes()[:50])
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a thing\n")
    with pytest.raises(ValueError, match=r"no usable row is left.*truncated image"):
        prepare(open_table(tmp_path), processors(["a"]))


def test_a_batch_has_the_texts_asked_for(shapes: Path):
    pairs = prepare(open_table(shapes), processors(["a red circle"]))
    rows = np.array([4, 9, 2])
    random = np.random.default_rng(0)
    one = pairs.batch(rows, pairs.choose(rows, texts_per_image=1, random=random))
    assert one.items["image"].tolist() == one.items["text"].tolist() == [4, 9, 2]
    two = pairs.batch(rows, pairs.choose(rows, texts_per_image=9, random=random))
    assert two.items["text"].tolist() == [4, 4, 9, 9, 2, 2] and two.size("image") == 3
    assert share_a_key(two.keys["image"], two.keys["text"])[0].tolist() == [True, True, False, False, False, False]


def test_equal_texts_make_rows_match_whatever_their_case():
    keys = make_keys(["a", "b", "c", "a"], [["One dog", "sun"], ["one  DOG"], ["a cat"], ["moon"]])
    image, text = torch.from_numpy(keys.image), torch.from_numpy(keys.text)
    expected = [[1, 1, 1, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 1]]
    assert share_a_key(image, text).int().tolist() == expected


def test_texts_that_a_tokenizer_cannot_tell_apart_are_equal():
    both = [unicodedata.normalize(form, "tiếng Việt") for form in ("NFC", "NFD")]
    keys = make_keys(["a", "b"], [[text] for text in both])
    assert keys.text[0, 1] == keys.text[1, 1]


def test_keys_are_the_same_on_every_machine():
    keys = make_keys(["a"], [["x"]])
    assert keys.text.tolist() == [[2065861875134405615, 3120130472484676456]]


def test_ragged_gives_what_the_tokenizer_gives():
    processor = TextProcessor(300, max_length=6).fit(["to be or not to be"])
    texts = ["to be", "", "not to be or to be or not", "be"]
    rows, cut = processor.encode(texts)
    view, direct = Ragged(rows, processor.pad_id).take(np.array([2, 0, 1])), processor([texts[2], texts[0], texts[1]])
    assert torch.equal(view["ids"], direct["ids"]) and torch.equal(view["mask"], direct["mask"])
    assert cut.tolist() == [False, False, True, False]
    assert len(rows[2]) == 6 and rows[2][-1] == rows[1][0]  # cut, its end mark kept; an empty text is the end mark


def test_rows_without_texts_and_models_without_a_tower_for_them_are_taken_where_asked(shapes: Path):
    table = open_table(shapes).select(range(3)).map(lambda row, i: {"text": row["text"][:i]}, with_indices=True)
    both = processors(["a red circle"])
    with pytest.raises(ValueError, match=r"row 0 .* has no text"):
        prepare(table, both)
    pairs = prepare(table, both, needs_text=False)
    assert len(pairs) == 3 and pairs.texts == 3 and pairs.keys.offsets.tolist() == [0, 0, 1, 3]
    with pytest.raises(ValueError, match="no text tower"):
        prepare(table, {"image": both["image"]})
    alone = prepare(table, {"image": both["image"]}, needs_text=False)
    assert list(alone.views) == ["image"] and alone.texts == 3
