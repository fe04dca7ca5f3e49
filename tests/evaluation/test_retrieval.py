"""Chunked retrieval is the dense definition, whatever the chunk, the gallery's order or the way keys are shared."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.core.pairing import share_a_key
from diptych.core.scorer import Scorer
from diptych.evaluation import metrics
from diptych.evaluation.retrieval import KeyIndex, RetrievalReport, both_ways, retrieve


class Cosine(Scorer):
    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return queries.dense @ gallery.dense.T


class Constant(Scorer):
    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        return torch.ones(len(queries), len(gallery))


def embedding(rows: int, seed: int, *, coarse: bool = False) -> Embedding:
    """Random rows; `coarse` ones are of small integers, so that scores tie often and sums are exact."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-1, 2, (rows, 6), generator=generator).float()
    return Embedding({"dense": vectors if coarse else torch.randn(rows, 6, generator=generator)})


def random_keys(rows: int, width: int, seed: int, *, of: int = 12) -> Tensor:
    return torch.randint(-3, of, (rows, width), generator=torch.Generator().manual_seed(seed)).clamp(min=-1)


def numbers(report: RetrievalReport) -> list[float]:
    return [*report.flat("").values(), *report.chance.values(), report.queries_without_positive]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(0, 9))
def test_the_join_of_keys_is_that_of_every_pair(seed: int, wide: int, wider: int, queries: int, gallery: int) -> None:
    a, b = random_keys(queries, wide, seed, of=6), random_keys(gallery, wider, seed + 1, of=6)
    columns = KeyIndex.of(b).sharing(a)
    expected = share_a_key(a, b)
    assert [[c for c in line if c >= 0] for line in columns.tolist()] == [
        row.nonzero()[:, 0].tolist() for row in expected
    ]


def test_large_keys_do_not_collide() -> None:
    keys = torch.tensor([[2**62 + 1], [2**62], [2**63 - 1]])
    assert KeyIndex.of(keys).sharing(keys).tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_every_chunk_gives_what_the_whole_matrix_gives(chunk: int) -> None:
    queries, gallery = embedding(40, 0, coarse=True), embedding(30, 1, coarse=True)
    query_keys, gallery_keys = random_keys(40, 2, 2), random_keys(30, 3, 3)
    report = retrieve(queries, gallery, query_keys, gallery_keys, Cosine(), ks=(10, 1, 3), chunk=chunk)
    positives = share_a_key(query_keys, gallery_keys)
    ranks = metrics.positive_ranks(queries.dense @ gallery.dense.T, positives)
    assert list(report.recall) == [1, 3, 10]
    for k in (1, 3, 10):
        assert report.recall[k] == metrics.recall_at(ranks, k)
        assert report.chance[k] == metrics.chance_recall(k, gallery=30, positives=positives.sum(1))
    assert report.median_rank == metrics.median_rank(ranks)
    assert report.mean_rank == metrics.mean_rank(ranks)
    assert report.mrr == metrics.mean_reciprocal_rank(ranks)
    assert report.map == pytest.approx(metrics.mean_average_precision(ranks))
    assert report.map_at == pytest.approx({k: metrics.mean_average_precision(ranks, k) for k in (1, 3, 10)})
    assert report.r_precision == pytest.approx(metrics.r_precision(ranks).nanmean().item())
    assert report.queries_without_positive == int((~positives.any(1)).sum()) > 0
    assert torch.equal(report.best_rank, ranks[:, 0])


def test_the_order_of_the_gallery_does_not_matter_even_among_ties() -> None:
    queries, gallery = embedding(40, 0, coarse=True), embedding(30, 1, coarse=True)
    query_keys, gallery_keys = random_keys(40, 2, 2), random_keys(30, 2, 3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(4))
    one = retrieve(queries, gallery, query_keys, gallery_keys, Cosine())
    other = retrieve(queries, gallery[order], query_keys, gallery_keys[order], Cosine())
    assert numbers(one) == numbers(other)
    assert torch.equal(one.best_rank, other.best_rank)


def test_top_rows_and_scores_are_the_best() -> None:
    queries, gallery = embedding(9, 0), embedding(20, 1)
    report = retrieve(
        queries, gallery, torch.zeros(9, 1).long(), torch.zeros(20, 1).long(), Cosine(), ks=(1, 4), chunk=2
    )
    scores = queries.dense @ gallery.dense.T
    assert torch.equal(report.top, scores.argsort(1, descending=True)[:, :4])
    torch.testing.assert_close(report.top_scores, scores.gather(1, report.top))  # a chunk's sums may round otherwise


def test_a_constant_scorer_gets_nothing() -> None:
    keys = torch.arange(20)[:, None]
    report = retrieve(embedding(20, 0), embedding(20, 1), keys, keys, Constant(), ks=(1, 5, 19, 20))
    assert report.recall == {1: 0.0, 5: 0.0, 19: 0.0, 20: 1.0}
    assert report.mean_rank == 20


def test_both_ways_is_named_after_what_is_asked_with() -> None:
    # Two captions an image: a caption has one right image of 3, an image two right captions of 6.
    image, image_keys = Embedding({"dense": torch.eye(3)}), torch.arange(3)[:, None]
    text, text_keys = Embedding({"dense": torch.eye(3).repeat(2, 1)}), image_keys.repeat(2, 1)
    reports = both_ways(image, text, image_keys, text_keys, Cosine(), ks=(1,))
    asked = {name: (report.queries, report.gallery) for name, report in reports.items()}
    assert asked == {"text_to_image": (6, 3), "image_to_text": (3, 6)}
    assert [report.chance[1] for report in reports.values()] == pytest.approx([1 / 3, 1 / 3])
    assert [report.map for report in reports.values()] == [1.0, 1.0]
    assert reports["text_to_image"].flat("t2i") == {
        "t2i_recall@1": 1.0,
        "t2i_median_rank": 1.0,
        "t2i_mean_rank": 1.0,
        "t2i_mrr": 1.0,
        "t2i_map": 1.0,
        "t2i_r_precision": 1.0,
        "t2i_map@1": 1.0,
    }
    assert json.loads(json.dumps(reports["text_to_image"].to_json()))["recall"] == {"1": 1.0}


def test_progress_sees_every_chunk() -> None:
    seen: list[int] = []

    def track(starts):  # type: ignore[no-untyped-def]
        for start in starts:
            seen.append(start)
            yield start

    keys = torch.arange(5)[:, None]
    retrieve(embedding(5, 0), embedding(5, 1), keys, keys, Cosine(), chunk=2, track=track)
    assert seen == [0, 2, 4]


def test_a_nan_is_named_by_its_query_in_the_whole_set() -> None:
    queries, keys = embedding(9, 0), torch.arange(9)[:, None]
    queries.dense[7] = math.nan
    with pytest.raises(ValueError, match=r"9 of 18 scores are NaN.*query 7 and gallery row 0"):
        retrieve(queries, embedding(9, 1), keys, keys, Cosine(), chunk=2)


def test_what_makes_no_sense_is_refused() -> None:
    rows, keys = embedding(4, 0), torch.arange(4)[:, None]
    with pytest.raises(ValueError, match=r"gallery: expected keys \[4, K\] for 4 rows, not \(3, 1\)"):
        retrieve(rows, rows, keys, keys[:3], Cosine())
    with pytest.raises(ValueError, match="same table"):
        retrieve(rows, rows, keys, keys + 100, Cosine())
    with pytest.raises(ValueError, match="ks are"):
        retrieve(rows, rows, keys, keys, Cosine(), ks=(0, 1))
    with pytest.raises(ValueError, match="empty"):
        retrieve(rows, rows[:0], keys, keys[:0], Cosine())

    class Transposed(Scorer):
        def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
            return gallery.dense @ queries.dense.T

    with pytest.raises(ValueError, match=r"Transposed scored 4 queries against 3 rows with shape \(3, 4\)"):
        retrieve(rows, rows[:3], keys, keys[:3], Transposed())
