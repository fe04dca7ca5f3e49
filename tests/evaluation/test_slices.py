"""Slices hold the queries that their names say, and their means are those queries' own."""

from __future__ import annotations

import pytest
import torch
from colours import colour_model, colour_table

from diptych.evaluation.bench import Bench
from diptych.evaluation.slices import parts, slices_of


def bench_of(**columns) -> Bench:
    return Bench(colour_model(), colour_table(["red", "green", "blue", "red"], **columns))


def told(rows) -> list[tuple[str, int, float]]:
    return [(one.name, one.queries, one.value) for one in rows]


def test_by_label_and_by_how_common_it_is():
    bench = bench_of(label=["a", "b", "a", None])
    found = slices_of(bench, torch.tensor([1.0, 0.0, 0.0, 1.0]), "image")
    assert told(found["label"]) == [("b", 1, 0.0), ("a", 2, 0.5)]  # the worst first
    assert told(found["frequency of the label"]) == [("1", 1, 0.0), ("2", 2, 0.5)]


def test_texts_go_by_their_images_label_and_their_length():
    texts = [["one", "two words"], ["now three words"], ["so many words that are here"], ["x"]]
    bench = bench_of(text=texts, shape=["a", "b", "b", "b"])
    values = torch.tensor([1.0, 0.0, 1.0, torch.nan, 0.0])
    found = slices_of(bench, values, "text", label="shape")
    assert told(found["label"]) == [("a", 2, 0.5), ("b", 2, 0.5)]
    assert told(found["words of the text"]) == [
        ("1", 2, 0.5),
        ("2", 1, 0.0),
        ("3", 1, 1.0),
    ]


def test_one_slice_says_nothing():
    assert slices_of(bench_of(label=["a"] * 4), torch.ones(4), "image") == {}
    assert slices_of(bench_of(), torch.ones(4), "image") == {}


def test_of_many_labels_the_worst_and_the_best_are_kept():
    count = 40
    bench = Bench(colour_model(), colour_table(["red"] * count, label=[f"l{i:02}" for i in range(count)]))
    found = slices_of(bench, torch.arange(count).double(), "image")["label"]
    assert [one.value for one in found] == [0, 1, 2, 3, 4, 5, 34, 35, 36, 37, 38, 39]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_are_of_like_size_and_never_cut_equals(count: int):
    sizes = [1] * 5 + [2, 3, 4, 5, 1_000]
    found = parts(sizes, count)
    assert len(set(found)) <= count and len(set(found[:5])) == 1
    for name in dict.fromkeys(found):
        assert name is not None
        ends = [int(one.replace(",", "")) for one in name.split(" to ")]
        mine = [size for size, own in zip(sizes, found, strict=True) if own == name]
        assert (min(mine), max(mine)) == (ends[0], ends[-1])
