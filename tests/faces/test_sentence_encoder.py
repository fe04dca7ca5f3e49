"""A sentence encoder gives the model's vectors, of whatever mixture, in its order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from face_models import untrained
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import cos_sim

from diptych.core.model import Model
from diptych.data.pairs import prepare
from diptych.evaluation.evaluate import embed_texts
from diptych.faces import SentenceEncoder
from diptych.models.embed import embed
from diptych.models.opening.tower import Tower, assembled

TEXTS = ["a red circle", "", "one square drawn in blue, number 7", "a red circle", "b"]


def picture(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (20 + seed, 41, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_texts_and_images_get_the_vectors_of_embed(table: Dataset, learned: Model):
    encoder, pairs = SentenceEncoder(learned), prepare(table, learned.processors)
    vectors = encoder.encode(TEXTS, batch_size=2)
    assert isinstance(vectors, np.ndarray) and vectors.dtype == np.float32
    # float32, batched otherwise
    torch.testing.assert_close(torch.from_numpy(vectors), embed_texts(learned, TEXTS), rtol=0, atol=1e-6)
    images = encoder.encode([row["bytes"] or Path(row["path"]) for row in table["image"][:]], convert_to_tensor=True)
    torch.testing.assert_close(images, embed(learned, "image", pairs.views["image"]).dense, rtol=0, atol=1e-6)


def test_a_mixture_keeps_its_order(learned: Model, tmp_path: Path):
    encoder = SentenceEncoder(learned)
    pictures = [picture(seed) for seed in range(3)]
    pictures[1].save(tmp_path / "1.png")
    items = [pictures[0], "a red circle", tmp_path / "1.png", "b", png(pictures[2]), ""]
    alone = np.stack([np.asarray(encoder.encode(item)) for item in items])
    assert alone.shape == (6, encoder.get_sentence_embedding_dimension())
    np.testing.assert_allclose(encoder.encode(items), alone, atol=1e-6)  # float32, batched otherwise
    np.testing.assert_allclose(encoder.encode([pictures[1], pictures[2]]), alone[[2, 4]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    assert len(np.unique(alone.round(5), axis=0)) == 6


def test_shapes_are_those_of_sentence_transformers(learned: Model):
    encoder = SentenceEncoder(learned)
    assert np.shape(encoder.encode("a")) == (16,) and np.shape(encoder.encode(["a"])) == (1, 16)
    assert np.shape(encoder.encode([])) == (0, 16)
    a, b = encoder.encode(TEXTS), encoder.encode(TEXTS[:2], convert_to_tensor=True)
    torch.testing.assert_close(encoder.similarity(a, b), cos_sim(a, b))
    torch.testing.assert_close(encoder.similarity(a[0], 3 * b), cos_sim(a[0], b))
    for name in ("encode", "similarity", "get_sentence_embedding_dimension"):
        assert callable(getattr(SentenceTransformer, name))  # the names are theirs


def test_what_the_model_has_no_tower_for_is_refused():
    model = untrained(TEXTS)
    texts = assembled(None, Tower(model.towers["text"], model.processors["text"], model.heads["text"]["dense"]))  # type: ignore[arg-type, index]
    encoder = SentenceEncoder(texts)
    assert np.shape(encoder.encode(["a"])) == (1, 16)
    with pytest.raises(ValueError, match=r"1 of the items are images.*takes text"):
        encoder.encode(["a", Path("a.png")])
