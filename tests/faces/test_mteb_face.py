"""`mteb` runs tasks of its own kinds on a model of ours, offline, and scores them as our embeddings say."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from datasets import Image as ImageColumn
from face_models import untrained
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification
from mteb.models import EncoderProtocol
from PIL import Image
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.data.images import decode_image
from diptych.data.pairs import prepare
from diptych.evaluation.evaluate import embed_texts, evaluate
from diptych.faces.mteb import MtebEncoder
from diptych.models.checkpoint import fingerprint
from diptych.models.embed import embed


def metadata(name: str, kind: str, category: str, score: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description="A task made of drawn shapes, held in memory.",
        reference=None,
        dataset={"path": "diptych/none", "revision": "0"},
        type=kind,  # type: ignore[arg-type]
        category=category,  # type: ignore[arg-type]
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
        date=("2026-01-01", "2026-01-01"),
        domains=["Web"],
        task_subtypes=[],
        license="not specified",
        annotations_creators="derived",
        dialect=[],
        modalities=["text", "image"],
        sample_creation="created",
        bibtex_citation="",
    )


def pictures(table: Dataset) -> list[dict[str, Any]]:
    """The table's images as `datasets` stores them."""
    out = []
    for image in table["image"][:]:
        file = io.BytesIO()
        decode_image(image).save(file, "PNG")
        out.append({"bytes": file.getvalue(), "path": None})
    return out


def rows(columns: dict[str, Any]) -> Dataset:
    made = Dataset.from_dict(columns)
    return made.cast_column("image", ImageColumn()) if "image" in columns else made


class ShapeRetrieval(AbsTaskRetrieval):
    metadata = metadata("DiptychShapesT2I", "Any2AnyRetrieval", "t2i", "hit_rate_at_1")
    k_values = (1, 5, 10)

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        self.data_loaded = True  # the test has put the data there


class ShapeClassification(AbsTaskZeroShotClassification):
    metadata = metadata("DiptychShapesZeroShot", "ZeroShotClassification", "i2t", "accuracy")
    names: tuple[str, ...] = ()

    def load_data(self, *args: Any, **kwargs: Any) -> None:
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return [f"0: a {name} circle" for name in self.names]


def scores(encoder: MtebEncoder, task: Any) -> dict[str, Any]:
    result = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)  # type: ignore[arg-type]
    return dict(result.task_results[0].scores["test"][0])


def test_retrieval_is_scored_as_we_score_it(table: Dataset, learned: Model):
    texts = [text for texts in table["text"][:] for text in texts]
    task = ShapeRetrieval()
    task.dataset = {
        "default": {
            "test": {
                "queries": rows({"id": [f"q{i}" for i in range(len(texts))], "text": texts}),
                "corpus": rows({"id": [f"d{i}" for i in range(len(table))], "image": pictures(table)}),
                "relevant_docs": {f"q{i}": {f"d{i // 2}": 1} for i in range(len(texts))},
                "top_ranked": None,
            }
        }
    }
    found = scores(MtebEncoder(learned), task)
    ours = evaluate(learned, table, ks=(1, 5, 10)).flat()
    for k in (1, 5, 10):  # mteb rounds to five digits
        assert found[f"recall_at_{k}"] == pytest.approx(ours[f"t2i_recall@{k}"], abs=1e-5)
    assert 0.05 < ours["t2i_recall@1"] < 0.95


def test_zero_shot_classification_is_scored_as_we_score_it(table: Dataset, learned: Model):
    names = sorted(set(table["colour"][:]))
    labels = [names.index(colour) for colour in table["colour"][:]]
    task = ShapeClassification()
    task.names = tuple(names)
    data = rows({"image": pictures(table), "label": labels}).cast_column("label", ClassLabel(names=names))
    task.dataset = DatasetDict({"test": data})  # type: ignore[assignment]
    found = scores(MtebEncoder(learned), task)
    report = evaluate(learned, table, label="colour", templates=["0: a {} circle"]).classification
    assert report is not None
    assert found["accuracy"] == pytest.approx(report.accuracy[1], abs=1e-5)
    assert found["f1"] == pytest.approx(f1_score(labels, report.predicted, average="macro"), abs=1e-5)
    assert 1 / 6 < report.accuracy[1] < 1


def batches(columns: dict[str, list[Any]], size: int) -> list[dict[str, Any]]:
    length = len(next(iter(columns.values())))
    return [{name: one[i : i + size] for name, one in columns.items()} for i in range(0, length, size)]


def test_texts_images_and_both(table: Dataset, learned: Model):
    encoder: Any = MtebEncoder(learned)
    about: dict[str, Any] = {"task_metadata": ShapeRetrieval.metadata, "hf_split": "test", "hf_subset": "default"}
    texts, images = [texts[0] for texts in table["text"][:7]], [decode_image(x) for x in table["image"][:7]]
    encode: Callable[..., Tensor] = lambda **columns: encoder.encode(batches(columns, 3), **about, batch_size=3)  # noqa: E731
    text = embed_texts(learned, texts)
    image = embed(learned, "image", prepare(table.select(range(7)), learned.processors).views["image"]).dense
    torch.testing.assert_close(encode(text=texts), text, rtol=0, atol=1e-6)  # float32, batched otherwise
    torch.testing.assert_close(encode(image=images), image, rtol=0, atol=1e-6)
    both = encode(text=texts, image=images)
    torch.testing.assert_close(both, F.normalize(text + image, dim=-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.similarity(text, image), text @ image.T, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="columns \\['audio'\\]"):
        encode(audio=[np.zeros(4)])


def test_it_is_what_mteb_calls_an_encoder(learned: Model):
    encoder = MtebEncoder(learned, name="someone/shapes")
    assert isinstance(encoder, EncoderProtocol)
    meta = encoder.mteb_model_meta
    assert meta is not None and meta.name == "someone/shapes" and set(meta.modalities) == {"image", "text"}
    assert meta.embed_dim == 16 and meta.max_tokens == 40
    assert meta.n_parameters == sum(one.numel() for one in learned.parameters())
    assert meta.revision == fingerprint(learned)
    other = MtebEncoder(untrained(["a"])).mteb_model_meta
    assert other is not None and other.revision != meta.revision


def test_a_grey_and_a_transparent_picture_are_read_as_everywhere(learned: Model):
    encoder: Any = MtebEncoder(learned)
    images = [Image.new("LA", (30, 40), (0, 0)), Image.new("L", (30, 40), 255)]
    clear, white = encoder.encode(
        batches({"image": images}, 2), task_metadata=ShapeRetrieval.metadata, hf_split="test", hf_subset="default"
    )
    torch.testing.assert_close(clear, white)  # nothing there is paper
