"""What the protocols measure, beside values worked by hand and by brute force."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colours import colour_model, colour_table
from datasets import Dataset

from diptych.evaluation.bench import Bench
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.protocols import (
    few_shot,
    knn,
    linear_probe,
    multilingual,
    multiple_choice,
    out_of_distribution,
    retrieval,
    zero_shot,
)


def bench_of(colours: Sequence[Any], *, training: Dataset | None = None, folder: Path | None = None, **columns: Any):
    given = None if training is None else lambda: training
    return Bench(colour_model(), colour_table(colours, **columns), training_rows=given, folder=folder)


def random_colours(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (count, 3))


def random_split(classes: int = 3) -> tuple[Bench, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """40 pictures to learn from and 30 to measure, of colours at random; their vectors and their classes."""
    train, test = random_colours(40, 0), random_colours(30, 1)
    random = np.random.default_rng(2)
    known, own = random.integers(0, classes, 40), random.integers(0, classes, 30)
    training = colour_table(train.tolist(), label=[f"c{one}" for one in known])
    bench = bench_of(test.tolist(), training=training, label=[f"c{one}" for one in own])
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train.astype(float), test.astype(float))]
    return bench, units[0], known, units[1], own


def test_retrieval_is_that_of_evaluate_without_tasks():
    texts = [["red", "a red"], ["green"], ["blue yellow"], ["yellow", "green"]]
    table = colour_table(["red", "orange", "blue", "yellow"], text=texts)
    found = retrieval.measure(Bench(colour_model(), table), ks=(1, 2))
    expected = evaluate(colour_model(), table, ks=(1, 2)).flat()
    assert found.numbers == {name: pytest.approx(value) for name, value in expected.items()}
    for name, values in found.items.items():
        assert float(values.nanmean()) == pytest.approx(found.numbers[name])
    assert {name: len(values) for name, values in found.items.items() if "recall@1" in name} == {
        "t2i_recall@1": 6,
        "i2t_recall@1": 4,
    }


def test_images_without_a_text_are_no_queries_and_in_no_gallery():
    bench = bench_of(["green", "red", "blue"], text=[[], ["red"], ["blue"]])
    found = retrieval.measure(bench, ks=(1,))
    assert found.numbers["t2i_recall@1"] == found.numbers["i2t_recall@1"] == 1
    assert found.chance["t2i_recall@1"] == 0.5
    assert found.items["i2t_recall@1"].tolist()[1:] == [1, 1] and found.items["i2t_recall@1"][0].isnan()
    assert found.notes == ["1 images without a text are left out"]
    assert [one.text for one in found.shown] == ["red", "blue"] and found.shown[0].found[0].image == 1


def test_zero_shot_by_hand():
    # The blue picture is as far from red as from green: a tie, which is lost.
    bench = bench_of(["red", "green", "blue", "orange", "red"], label=["red", "green", "red", "red", None])
    found = zero_shot.measure(bench, templates="simple")
    assert found.numbers == {"accuracy": 0.75, "mean_per_class": pytest.approx((2 / 3 + 1) / 2)}
    assert found.chance == {"accuracy": 0.5, "mean_per_class": 0.5}
    assert found.items["accuracy"][:4].tolist() == [1, 1, 0, 1] and found.items["accuracy"][4].isnan()
    assert found.notes == ["1 images without a label are left out"]
    assert found.shown[0].image == 2 and found.shown[0].rank == 2  # the most wrong comes first


def test_zero_shot_takes_names_by_number_by_label_and_from_files(tmp_path: Path):
    (tmp_path / "names.txt").write_text("rot\nblau\n")
    (tmp_path / "pairs.txt").write_text("1\tblau\n0\trot\n")
    (tmp_path / "names.json").write_text(json.dumps({"de": {"two": ["rot", "blau"]}, "t": ["{c}", "so {c}"]}))
    bench = bench_of(["red", "blue", "orange"], folder=tmp_path, label=["0", "1", "0"])
    for classes in (["rot", "blau"], {"0": "rot", "1": "blau"}, "names.txt", "pairs.txt", "names.json#de/two"):
        assert zero_shot.measure(bench, templates="names.json#t", classes=classes).numbers["accuracy"] == 1
    assert zero_shot.measure(bench, templates="simple", classes=["blau", "rot"]).numbers["accuracy"] == 0
    with pytest.raises(ValueError, match="2 labels of the table have no class name, the first '0'"):
        zero_shot.measure(bench, classes={"a": "rot", "b": "blau"})
    with pytest.raises(ValueError, match="no set 'phto'; there are clip, photo"):
        zero_shot.measure(bench, classes=["rot", "blau"], templates="phto")
    with pytest.raises(ValueError, match=r"has no 'fr'.*it has de, t"):
        zero_shot.measure(bench, classes="names.json#fr")
    with pytest.raises(ValueError, match="no file"):
        zero_shot.measure(bench, classes="other.txt")


def test_templates_are_averaged_as_unit_vectors():
    # (1,0,0) and (1,1,0)/sqrt2: their mean leans to red by 22.5 degrees; orange (255, 127, 0) lies at 26.5.
    bench = bench_of(["orange"], label=["red"])
    found = zero_shot.measure(bench, templates=["{}", "{} green"], classes=["red", "yellow"])
    to_red, to_yellow = np.radians(26.478 - 22.5), np.radians(22.5 + 22.5 + 11.25 - 26.478)
    assert np.cos(to_red) > np.cos(to_yellow) and found.numbers["accuracy"] == 1
    assert found.shown[0].found[0].score == pytest.approx(np.cos(to_red), abs=1e-4)


def test_nearest_neighbours_by_brute_force():
    bench, train, known, test, own = random_split()
    found = knn.measure(bench, k=5, temperature=0.05)
    right = []
    for row, label in zip(test, own, strict=True):
        cosine = train @ row
        votes = np.zeros(3)
        for near in np.argsort(-cosine)[:5]:
            votes[known[near]] += np.exp(cosine[near] / 0.05)
        right.append(int(votes.argmax()) == label)
    assert found.numbers["accuracy"] == pytest.approx(np.mean(right)) and 0 < np.mean(right) < 1
    assert found.items["accuracy"].tolist() == right
    assert knn.measure(bench, k=1000).numbers["accuracy"] >= 0  # fewer pictures than neighbours
    with pytest.raises(ValueError, match="k is 0"):
        knn.measure(bench, k=0)


def test_linear_probe_is_scikit_learns_on_vectors_of_unit_coordinates():
    from sklearn.linear_model import LogisticRegression

    bench, train, known, test, own = random_split()
    found = linear_probe.measure(bench, strengths=[3.0])
    peer = LogisticRegression(C=3.0, max_iter=1000).fit(train * 3**0.5, known)
    assert found.numbers["accuracy"] == pytest.approx(peer.score(test * 3**0.5, own))
    assert found.notes[0].startswith("40 labelled pictures")


def test_linear_probe_chooses_what_does_best_on_rows_held_out():
    # Yellow and orange are told apart only where the regularisation is weak.
    colours = ["yellow", "orange"] * 20 + ["blue"] * 40
    training = colour_table(colours, label=colours)
    bench = bench_of(["yellow", "orange", "blue"], training=training, label=["yellow", "orange", "blue"])
    found = linear_probe.measure(bench, strengths=[1e-6, 10.0])
    assert found.numbers["accuracy"] == 1 and "strength C = 10, of 1e-06, 10" in found.notes
    assert linear_probe.measure(bench, strengths=[1e-6]).numbers["accuracy"] < 1
    with pytest.raises(ValueError, match="held_out below 1"):
        linear_probe.measure(bench, held_out=1.0)


def test_rows_held_out_are_of_every_class_and_never_all_of_it():
    labels = torch.tensor([0] * 10 + [1] * 2 + [2])
    out = linear_probe.held_out_rows(labels, 0.2, 0)
    assert [int(out[labels == one].sum()) for one in range(3)] == [2, 1, 0]
    assert torch.equal(out, linear_probe.held_out_rows(labels, 0.2, 0))
    assert int(linear_probe.held_out_rows(labels, 0.99, 0)[:10].sum()) == 9


def test_a_probe_of_two_classes_and_one_never_seen():
    training = colour_table(["red"] * 4 + ["blue"] * 4, label=["red"] * 4 + ["blue"] * 4)
    bench = bench_of(["red", "blue", "green"], training=training, label=["red", "blue", "green"])
    for found in (linear_probe.measure(bench, strengths=[1.0]), knn.measure(bench, k=2)):
        assert found.numbers["accuracy"] == pytest.approx(2 / 3) and found.chance["accuracy"] == pytest.approx(1 / 3)
        assert any("1 classes have no training picture, such as 'green'" in note for note in found.notes)
    alone = bench_of(["red"], training=colour_table(["red"], label=["red"]), label=["blue"])
    with pytest.raises(ValueError, match="fewer than two classes"):
        knn.measure(alone)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    bench, *_ = random_split()
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'diptych\[eval\]'"):
        linear_probe.measure(bench)
    with pytest.raises(ImportError, match=r"diptych\[eval\]"):
        few_shot.measure(bench)
    assert few_shot.measure(bench, methods=["nearest_mean"]).numbers["nearest_mean@1"] > 0


def test_few_shots_of_classes_that_are_one_colour_each():
    colours = ["red", "green", "blue"] * 5
    bench = bench_of(
        ["red", "green", "orange", "blue"],
        training=colour_table(colours, label=colours),
        label=["red", "green", "green", "blue"],
    )
    found = few_shot.measure(bench, shots=[1, 3], draws=3)
    for method in ("nearest_mean", "logistic"):  # whatever is drawn, orange is taken for red
        assert [found.numbers[f"{method}@{n}"] for n in (1, 3)] == [0.75, 0.75]
        assert found.numbers[f"{method}@1_spread"] == 0
        assert found.items[f"{method}@3"].tolist() == [1, 1, 0, 1]
    assert found.chance["logistic@1"] == pytest.approx(1 / 3)
    assert found.curves["accuracy of nearest mean"].points == [(1.0, 0.75), (3.0, 0.75)]


def test_few_shots_are_drawn_anew_and_spread():
    bench, train, known, test, own = random_split()
    found = few_shot.measure(bench, shots=[2, 100], draws=4, methods=["nearest_mean"], seed=7)
    accuracies = []
    for draw in range(4):
        rows = few_shot.draw_shots(torch.from_numpy(known), 2, seed=(7, 2, draw)).numpy()
        means = np.stack([train[rows][known[rows] == one].sum(0) for one in range(3)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        accuracies.append(np.mean((test @ means.T).argmax(1) == own))
        assert np.bincount(known[rows]).tolist() == [2, 2, 2]
    assert found.numbers["nearest_mean@2"] == pytest.approx(np.mean(accuracies))
    assert found.numbers["nearest_mean@2_spread"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found.numbers["nearest_mean@100_spread"] == 0  # all pictures, in every draw
    assert "3 classes have fewer than 100 training pictures and give all that they have" in found.notes
    with pytest.raises(ValueError, match="2 draws"):
        few_shot.measure(bench, draws=1)


def test_multiple_choice_of_a_column():
    bench = bench_of(
        ["red", "green", "blue", "yellow"],
        text=[["red"], ["green"], ["red"], ["yellow"]],
        negatives=[["blue", "green"], ["green"], ["blue"], []],
        type=["swap", "swap", "add", "add"],
    )
    found = multiple_choice.measure(bench)
    # The second is a tie with a text equal to its own, which is lost; the fourth has nothing to choose from.
    assert found.numbers == {
        "accuracy": pytest.approx(1 / 3),
        "accuracy_add": 0,
        "accuracy_swap": 0.5,
        "mean_of_types": 0.25,
    }
    assert found.chance["accuracy"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert "1 images without a right or a wrong text are left out" in found.notes
    assert found.shown[0].image == 2 and [one.right for one in found.shown[0].found] == [False, True]
    with pytest.raises(ValueError, match="no row has both a text and wrong texts in column 'none'"):
        multiple_choice.measure(bench_of(["red"], none=[[]], text=[["red"]]), column="none")


def test_multiple_choice_of_a_file_in_sugarcrepes_form(tmp_path: Path):
    lines = [
        {"id": "0", "caption": "red", "negative_caption": "blue", "type": "replace"},
        {"id": "0", "caption": "green", "negative_caption": ["red", "blue"], "type": "replace"},
        {"id": "9", "caption": "red", "negative_caption": "blue", "type": "replace"},
    ]
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    bench = bench_of(["red", "blue"], folder=tmp_path)
    found = multiple_choice.measure(bench, items="items.jsonl")
    assert found.numbers == {"accuracy": 0.5, "accuracy_replace": 0.5}
    assert found.chance["accuracy"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.notes[1].startswith("1 items of items.jsonl have no image")
    file.write_text('{"id": "0"}\n')
    with pytest.raises(ValueError, match=r"items\.jsonl, line 1: expected id, caption and negative_caption"):
        multiple_choice.measure(bench, items="items.jsonl")
    file.write_text(json.dumps(lines[2]))
    with pytest.raises(ValueError, match="none of the 1 items"):
        multiple_choice.measure(bench, items="items.jsonl")


def test_strangers_are_noticed_by_how_little_the_best_name_fits():
    names = ["red", "green", "blue", "yellow"]
    bench = bench_of(names * 2, label=names * 2)
    found = out_of_distribution.measure(bench, templates="simple", folds=2)
    # Each fold by hand: every known picture fits its name with cosine 1; a stranger with 1/sqrt2 at most.
    assert found.numbers["cosine_auroc"] == 1 and found.numbers["cosine_fpr95"] == 0
    assert found.numbers["mcm_auroc_spread"] >= 0 and found.chance["mcm_fpr95"] == 0.95
    with pytest.raises(ValueError, match=r"two classes with pictures for each \(there are 4\)"):
        out_of_distribution.measure(bench, folds=3)


def test_languages_are_measured_on_the_same_pictures():
    texts = [
        {"en": "red", "de": ["rot"], "fr": None},
        {"en": "blue", "de": ["rot", "blau"], "fr": None},
        {"en": "green", "de": None, "fr": None},
    ]
    bench = bench_of(["red", "blue", "green"], texts=texts)
    found = multilingual.measure(bench, languages=["de", "en"])
    # Without the green picture, which has no German: "rot" of the blue one is word for word that of the red one.
    assert found.numbers["t2i_recall@1_en"] == 1 and found.numbers["t2i_recall@1_de"] == 1
    assert found.numbers["i2t_recall@1_mean"] == 1 and found.chance["t2i_recall@1_en"] == 0.5
    assert found.notes == ["2 of 3 images have texts in all 2 languages"]
    with pytest.raises(ValueError, match="no language 'fr'; it has de, en"):
        multilingual.measure(bench, languages=["en", "fr"])
    apart = bench_of(["red", "blue"], texts=[{"en": "red", "de": None}, {"en": None, "de": "blau"}])
    with pytest.raises(ValueError, match="no image has texts in all of de, en"):
        multilingual.measure(apart)


def test_a_language_a_row():
    colours = ["red", "blue", "green", "blue", "red"]
    texts = [["red"], ["blue"], ["green"], ["blau"], ["blau rot rot"]]
    bench = bench_of(colours, text=texts, language=["en", "en", "en", "de", "de"])
    found = multilingual.measure(bench, column="language")
    assert found.numbers["t2i_recall@1_en"] == 1 and found.numbers["t2i_recall@1_de"] == 1
    assert found.numbers["t2i_recall@1_worst"] == 1
    assert found.chance["t2i_recall@1_mean"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.items["t2i_recall@1_de"].tolist() == [1, 1]
