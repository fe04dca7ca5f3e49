"""AP@k, nDCG@k and reranking against hand-worked cases and by brute force."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hand_bench import HandBench

from diptych.core.scorer import Scorer
from diptych.evaluation.protocols.full_rank import measure, reranked

ANGLES = [0.0, 0.1, 0.2, 0.3, 0.4]


def vector(value: str) -> list[float]:
    angle = float(value.removeprefix("a photo of ")) if value[0].isdigit() or value.startswith("a photo") else 0.0
    return [math.cos(angle), math.sin(angle)]


def bench(labels: list[str | None]) -> HandBench:
    return HandBench({"image": [str(a) for a in ANGLES], "label": labels}, image=vector, text=vector)


def test_by_hand():
    # "0.0" orders the pictures as they are; right are the 1st and 4th.
    found = measure(bench(["0.0", None, None, "0.0", "0.9"]), k=3)
    assert found.numbers["map@3"] == pytest.approx(1 / 2)  # 1/1 of the two within 3
    gain = 1 + 1 / math.log2(3)
    assert found.numbers["ndcg@3"] == pytest.approx(1 / gain)
    assert found.numbers["mrr"] == 1.0
    assert "1 queries of 1 columns" in found.notes[0]  # 0.9 is had by one row, and not asked for
    whole = measure(bench(["0.0", None, None, "0.0", None]), k=50)
    assert whole.numbers["map@50"] == pytest.approx((1 + 2 / 4) / 2)
    assert whole.numbers["ndcg@50"] == pytest.approx((1 + 1 / math.log2(5)) / gain)


def test_columns_are_told_apart():
    given = bench(["0.0", "0.0", None, None, None])
    given.rows["more"] = [{"place": "0.4"}, None, None, None, {"place": "0.4"}]
    found = measure(given, columns=["label", "more.place"], k=2)
    assert found.numbers["map@2_label"] == 1.0
    assert found.numbers["map@2_more.place"] == pytest.approx(1 / 2)  # the last is first, the other is fifth
    assert found.numbers["map@2"] == pytest.approx(3 / 4)
    assert len(found.items["map@2"]) == 2 and found.numbers["mrr_label"] == 1.0


@pytest.mark.parametrize("top", [1, 3, 7, 50])
def test_reranked_by_brute_force(top: int):
    generator = torch.Generator().manual_seed(top)
    first, second = torch.randn(4, 7, generator=generator), torch.randn(4, 7, generator=generator)
    made = reranked(first, second, top)
    for query in range(4):
        order = sorted(range(7), key=lambda row: -float(first[query, row]))
        wanted = sorted(order[:top], key=lambda row: -float(second[query, row])) + order[top:]
        assert made[query].argsort(descending=True).tolist() == wanted


def test_a_second_scorer_reranks_and_is_bounded():
    given = bench(["0.0", None, None, "0.0", None])

    class Backwards(Scorer):
        def forward(self, queries, gallery):  # type: ignore[no-untyped-def]
            return -(queries.dense @ gallery.dense.T)

    given.model = SimpleNamespace(parts={"second": Backwards()})  # type: ignore[assignment]
    found = measure(given, k=5, rerank=4, second="second")
    # The first four turned round: 4th, 3rd, 2nd, 1st, then the 5th. Right are places 1 and 4.
    assert found.numbers["rerank_map@5"] == pytest.approx((1 + 2 / 4) / 2)
    assert found.numbers["rerank_bound@5"] == 1.0 and found.numbers["rerank_mrr"] == 1.0
    fewer = measure(given, k=5, rerank=3, second="second")
    assert fewer.numbers["rerank_map@5"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert fewer.numbers["rerank_bound@5"] == pytest.approx((1 + 2 / 4) / 2)  # the fourth cannot move


def test_refusals():
    with pytest.raises(ValueError, match="had by 9 or more"):
        measure(bench(["0.0"] * 5), least=9)
    with pytest.raises(ValueError, match="it needs"):
        measure(bench(["0.0"] * 5), prompts={"label": "a thing"})
    given = bench(["0.0"] * 5)
    given.model = SimpleNamespace(parts={})  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no scorer 'other' to rerank"):
        measure(given, second="other")
