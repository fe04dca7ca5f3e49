"""LexVLA on drawn shapes: words of a file or of the vocabulary, a codebook that stays, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diptych.data.pairs import tokenize
from diptych.data.sources import open_table
from diptych.encoders import TextTransformer, WordHead
from diptych.evaluation.evaluate import evaluate
from diptych.models import Towers, dual_encoder, load
from diptych.models.words import input_embeddings, read_words, words_encoded
from diptych.recipes import find_recipe
from diptych.training.recipe import Recipe, Schedule
from diptych.training.run import train

SMALL = Towers(image_size=24, vocab_size=300, max_length=16, widths=(16, 32), depths=(1, 1), text_width=32)


def built(**options) -> Recipe:
    schedule = Schedule(epochs=15, batch_size=24, lr=3e-3, precision="float32")
    return find_recipe("lexvla").recipe(SMALL, schedule, head_hidden=32, overuse=0.1, **options)


def test_texts_find_their_pictures_and_the_codebook_stands_still(shapes: Path, tmp_path: Path):
    made = built()
    vectors = made.model.heads["text"]["lexical"].codebook.vectors.clone()  # type: ignore[index, union-attr]
    done = train(lambda: made, open_table(shapes), tmp_path / "run", about={})
    heads = [load(tmp_path / "run/model").heads[name]["lexical"] for name in ("image", "text")]  # type: ignore[index]
    assert all(isinstance(head, WordHead) and torch.equal(head.codebook.vectors, vectors) for head in heads)
    found = evaluate(done.model, open_table(shapes), scorer="lexical").retrieval["text_to_image"]
    assert found.recall[5] > 0.5 > 2 * found.chance[5]


def test_the_vocabulary_is_the_towers_own_table():
    torch.manual_seed(0)
    base = dual_encoder(SMALL, parts={})
    tower = base.towers["text"]
    assert isinstance(tower, TextTransformer)
    table = next(m for m in tower.modules() if isinstance(m, torch.nn.Embedding) and m.num_embeddings == 300)
    assert torch.equal(input_embeddings(base, 300), table.weight)
    with pytest.raises(ValueError, match="no table of 301 token embeddings; give --words"):
        input_embeddings(base, 301)


def test_a_word_is_read_as_a_text_of_its_own():
    torch.manual_seed(0)
    base = dual_encoder(SMALL, parts={}).eval()
    with pytest.raises(ValueError, match="not fitted yet"):
        words_encoded(base, ["red"])
    base.processors["text"].fit(["red circle", "blue square"])
    vectors = words_encoded(base, ["square", "red"])
    view, _ = tokenize(["red"], base.processors["text"])
    with torch.no_grad():
        torch.testing.assert_close(vectors[1], base.features("text", view.take([0])).pooled[0])  # type: ignore[arg-type]


def test_files_of_words(tmp_path: Path):
    file = tmp_path / "words.txt"
    file.write_text("dog\n\n red \n")
    assert read_words(file) == ("dog", "red")
    file.write_text("dog\ncat\ndog\n")
    with pytest.raises(ValueError, match=r"words.txt, line 3: 'dog' stands in line 1 already"):
        read_words(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="has no words"):
        read_words(file)
    with pytest.raises(ValueError, match="cannot read the words of"):
        read_words(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="not fitted yet"):
        built(words=_written(file))


def _written(file: Path) -> Path:
    file.write_text("red\nblue")
    return file
