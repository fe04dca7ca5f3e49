"""Zero-shot classification against hand-worked values, a confusion matrix of scikit-learn, and its own bounds."""

from __future__ import annotations

import json
import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from diptych.evaluation.classification import DEFAULT_TEMPLATES, class_embeddings, classify


def test_a_class_is_the_mean_of_unit_vectors_not_of_vectors() -> None:
    # "cat" -> (10, 0), "a cat" -> (0, 1): unit vectors (1, 0) and (0, 1), their mean made unit is (1, 1) / sqrt 2.
    said = {"cat": [10.0, 0.0], "a cat": [0.0, 1.0], "dog": [-2.0, 0.0], "a dog": [-4.0, 0.0]}
    classes = class_embeddings(
        lambda texts: torch.tensor([said[text] for text in texts]), ["cat", "dog"], ["{}", "a {}"]
    )
    torch.testing.assert_close(classes, torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]]))


@pytest.mark.parametrize("batch", [1, 8, 20, 1000])
def test_batches_hold_whole_classes_and_change_nothing(batch: int) -> None:
    sizes = []

    def embed(texts: list[str]) -> torch.Tensor:
        sizes.append(len(texts))
        return torch.tensor([[len(text), text.count("a"), text.count("o")] for text in texts]).float()

    names = ["cat", "dog", "a big boat", "oak", "{brace}"]
    classes = class_embeddings(embed, names, batch=batch)
    assert sum(sizes) == len(names) * len(DEFAULT_TEMPLATES)
    assert max(sizes) <= max(batch, len(DEFAULT_TEMPLATES))
    torch.testing.assert_close(classes, class_embeddings(embed, names))


def test_class_names_and_templates_are_checked() -> None:
    embed = lambda texts: torch.ones(len(texts), 2)  # noqa: E731
    with pytest.raises(ValueError, match=r"these have none: \['a photo'\]"):
        class_embeddings(embed, ["cat"], ["{}", "a photo"])
    with pytest.raises(ValueError, match=r"more than once: \['crane'\]"):
        class_embeddings(embed, ["crane", "dog", "crane"])
    with pytest.raises(ValueError, match="0 class names"):
        class_embeddings(embed, [])
    with pytest.raises(ValueError, match=r"got 7 texts and returned \(1, 2\)"):
        class_embeddings(lambda _: torch.ones(1, 2), ["cat"])


def test_hand_worked() -> None:
    classes = torch.eye(3)
    images = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.6, 0.1], [0.5, 0.5, 0.0]])
    report = classify(images, classes, torch.tensor([0, 1, 1, 0]), ks=(1, 2))
    assert report.rank.tolist() == [1, 1, 2, 2]  # the last ties, and a tie is lost
    assert report.predicted.tolist() == [0, 1, 0, 1]
    assert report.accuracy == {1: 0.5, 2: 1.0}
    assert report.chance == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}
    assert report.per_class[:2].tolist() == [0.5, 0.5] and report.per_class[2].isnan()
    assert report.classes_without_images == 1
    assert report.mean_per_class == 0.5
    assert report.confusion_matrix().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["per_class"] == [0.5, 0.5, None]
    assert report.flat("zs") == {"zs_top1": 0.5, "zs_top2": 1.0, "zs_mean_per_class": 0.5}


@pytest.mark.parametrize("chunk", [1, 64, 5000])
def test_peer_library_agrees(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, classes = torch.randn(300, 8, generator=generator), torch.randn(10, 8, generator=generator)
    scores = images @ classes.T
    labels = (scores + 2 * torch.randn(300, 10, generator=generator)).argmax(1)
    report = classify(images, classes, labels, ks=(1, 3), chunk=chunk)
    for k in (1, 3):
        expected = top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=range(10))
        assert report.accuracy[k] == pytest.approx(expected)
    predicted = scores.argmax(1)
    assert report.confusion_matrix().tolist() == confusion_matrix(labels, predicted, labels=range(10)).tolist()
    assert report.mean_per_class == pytest.approx(balanced_accuracy_score(labels, predicted))
    counts = report.confused[:, 2]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True) and counts.sum() == 300


def test_a_model_that_says_the_same_of_all_classes_is_always_wrong() -> None:
    report = classify(torch.ones(6, 4), torch.ones(5, 4), torch.arange(6) % 5, ks=(1, 4, 5))
    assert report.accuracy == {1: 0.0, 4: 0.0, 5: 1.0}
    assert (report.predicted != torch.arange(6) % 5).all()


def test_images_and_labels_are_checked() -> None:
    with pytest.raises(
        ValueError, match=r"2 labels are not among the 3 classes \(0 to 2\); the first is 3, of image 1"
    ):
        classify(torch.eye(3), torch.eye(3), torch.tensor([0, 3, -1]))
    with pytest.raises(ValueError, match="labels"):
        classify(torch.eye(3), torch.eye(3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(2, 2\)"):
        classify(torch.eye(3), torch.eye(2), torch.tensor([0, 1, 1]))
    images = torch.eye(3)
    images[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"NaN.*query 2"):
        classify(images, torch.eye(3), torch.tensor([0, 1, 2]), chunk=1)
