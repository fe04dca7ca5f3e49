"""Languages by hand: their own classes and chance, equal names lost, correlation with retrieval, both file forms."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from hand_bench import HandBench

from diptych.evaluation.protocols.class_languages import measure

# A picture of class a, b, c lies along an axis, and so does each word, by its first letter.
AXES = {"a": [1.0, 0, 0], "b": [0, 1.0, 0], "c": [0, 0, 1.0]}
LINES = [
    {"kind": "a", "names": {"en": "apple", "de": "apfel", "xx": "same", "yy": "a"}},
    {"kind": "b", "names": {"en": "bear", "de": "apart", "xx": "same"}},
    {"kind": "c", "names": {"en": "cat", "de": "c", "xx": "c"}},
    {"kind": "d", "names": {"en": "dog"}},
]


def vector(word: str) -> torch.Tensor:
    return torch.tensor(AXES.get(word[-1] if word.startswith("see ") else word[0], [1.0, 1.0, 0.1]))


def bench(folder: Path, lines: list[dict] = LINES) -> HandBench:
    (folder / "names.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = {"image": ["a", "b", "c", "c"], "kind": ["a", "b", "c", None]}
    return HandBench(rows, image=vector, text=vector, folder=folder)


def test_by_hand(tmp_path: Path):
    found = measure(bench(tmp_path), names="names.jsonl", key="kind")
    assert found.numbers["accuracy_en"] == 1.0
    assert found.numbers["accuracy_de"] == pytest.approx(1 / 3)  # "apfel" and "apart" are alike, and both are lost
    assert found.numbers["accuracy_xx"] == pytest.approx(1 / 3)  # so are equal names
    assert found.chance["accuracy_en"] == pytest.approx(1 / 3)  # three classes: no picture shows d
    assert found.numbers["accuracy_mean"] == pytest.approx(5 / 9) and found.numbers["accuracy_worst"] == pytest.approx(
        1 / 3
    )
    assert found.numbers["english_gap"] == pytest.approx(2 / 3)
    assert any("left out: yy" in note for note in found.notes)
    assert len(found.items["accuracy_en"]) == 3  # the row without a class is left out


def test_a_language_is_measured_on_the_classes_it_names(tmp_path: Path):
    found = measure(bench(tmp_path), names="names.jsonl", key="kind", languages=["yy"], least=1)
    assert found.numbers["accuracy_yy"] == 1.0 and found.chance["accuracy_yy"] == 1.0


def test_correlation_with_retrieval(tmp_path: Path):
    given = bench(tmp_path)
    words = [
        {"kind": "a", "words": {"en": ["a", "b"], "de": "a", "xx": "b"}},
        {"kind": "b", "words": {"en": "b", "de": "a", "xx": "c"}},
        {"kind": "c", "words": {"en": "c", "de": "c", "xx": "c"}},
    ]
    (tmp_path / "words.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, words)).encode()))
    found = measure(given, names="names.jsonl", key="kind", queries="words.jsonl.gz", queries_field="words")
    recall = [found.numbers[f"t2i_recall@1_{one}"] for one in ("de", "en", "xx")]
    assert recall == pytest.approx([2 / 3, 1.0, 1 / 3])
    accuracy = [1 / 3, 1.0, 1 / 3]
    assert found.numbers["pearson"] == pytest.approx(torch.corrcoef(torch.tensor([accuracy, recall]))[0, 1].item())
    assert found.numbers["spearman"] == pytest.approx(0.8660254)  # ranks 1.5, 3, 1.5 and 2, 3, 1


def test_the_form_by_language(tmp_path: Path):
    said = {"babel": {"EN": [[0, 1], ["a", "b"]], "FR": {"0": "a", "1": "a"}}}
    (tmp_path / "names.json").write_text(json.dumps(said))
    rows = {"image": ["a", "b"], "label": ["0", "1"]}
    found = measure(HandBench(rows, image=vector, text=vector, folder=tmp_path), names="names.json#babel")
    assert found.numbers["accuracy_EN"] == 1.0 and found.numbers["accuracy_FR"] == 0.0


def test_refusals(tmp_path: Path):
    given = bench(tmp_path)
    with pytest.raises(ValueError, match="has no language 'fr'"):
        measure(given, names="names.jsonl", key="kind", languages=["fr"])
    with pytest.raises(ValueError, match=r"no language of names.jsonl names 9 or more of the 3 classes"):
        measure(given, names="names.jsonl", key="kind", least=9)
    (tmp_path / "names.jsonl").write_text('{"kind": "a"}')
    with pytest.raises(ValueError, match=r"names.jsonl, line 1: expected 'kind' and 'names'"):
        measure(given, names="names.jsonl", key="kind")
    (tmp_path / "names.json").write_text('{"EN": 3}')
    with pytest.raises(ValueError, match=r"names.json#: expected languages"):
        measure(given, names="names.json", key="kind")
