"""nDCG against torchmetrics and scikit-learn where nothing ties, and against every order of what does."""

from __future__ import annotations

import json
import math
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score
from torch import Tensor
from torchmetrics.functional.retrieval import retrieval_normalized_dcg

from diptych.core.embedding import Embedding
from diptych.evaluation import metrics
from diptych.evaluation.graded import exponential_gain, graded_ranks, ndcg, retrieve_graded
from diptych.evaluation.retrieval import KeyIndex, retrieve
from diptych.scoring import Dot

K = 10


def untied(queries: int = 12, gallery: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores of which no two are equal, and a whole matrix of grades 0 to 4, mostly 0; of query 3 all 0."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(float(gallery)), (queries, 1)), axis=1)
    grades = rng.integers(0, 5, (queries, gallery)) * (rng.random((queries, gallery)) < 0.3)
    grades[3] = 0
    return torch.from_numpy(scores), torch.from_numpy(grades).double()


def judged(grades: Tensor, seed: int = 1) -> tuple[Tensor, Tensor]:
    """The same grades as columns in any order, pads and judgements of 0 among them, and what each is worth."""
    row, column = (grades > 0).nonzero(as_tuple=True)
    columns = metrics.pad_columns(row, column, queries=len(grades))
    columns = torch.cat([columns, torch.full_like(columns[:, :2], -1)], 1)
    free = (grades == 0).int().argmax(1)
    columns[:, -1] = free  # judged, and worth nothing
    columns = columns[:, torch.randperm(columns.shape[1], generator=torch.Generator().manual_seed(seed))]
    gains = grades.gather(1, columns.clamp(min=0))
    return columns, gains.masked_fill(columns < 0, 99.0)  # what stands beside a pad means nothing


@pytest.mark.parametrize("k", [1, 5, 60, 1000])
def test_ndcg_is_that_of_peers_where_nothing_ties(k: int) -> None:
    scores, grades = untied()
    columns, gains = judged(grades)
    ours = ndcg(*graded_ranks(scores, columns, gains), k)
    answered = [query for query in range(len(scores)) if query != 3]
    assert ours[3].isnan()
    for query in answered:
        depth = min(k, scores.shape[1])
        theirs = retrieval_normalized_dcg(scores[query], grades[query].long(), top_k=depth)
        assert ours[query].item() == pytest.approx(float(theirs), abs=1e-6)  # they sum in float32
        again = ndcg_score(grades[query : query + 1].numpy(), scores[query : query + 1].numpy(), k=k)
        assert ours[query].item() == pytest.approx(again, abs=1e-12)


def test_exponential_gain_is_scikit_learns_of_the_gains() -> None:
    scores, grades = untied(seed=5)
    columns, gains = judged(grades)
    ours = ndcg(*graded_ranks(scores, columns, exponential_gain(gains).masked_fill(columns < 0, -1.0)), K)
    for query in (0, 1, 2):
        gain = (2.0 ** grades[query : query + 1].numpy()) - 1
        assert ours[query].item() == pytest.approx(ndcg_score(gain, scores[query : query + 1].numpy(), k=K), abs=1e-12)


def test_grades_of_0_and_1_rank_as_positives_do_and_both_gains_agree() -> None:
    scores, grades = untied(seed=7)
    columns, gains = judged((grades > 0).double())
    ranks, worth = graded_ranks(scores, columns, gains)
    plain = metrics.positive_ranks(scores, grades > 0)
    assert torch.equal(ranks[:, : plain.shape[1]], plain) and not ranks[:, plain.shape[1] :].any()
    linear, exponential = (ndcg(ranks, each, K) for each in (worth, exponential_gain(worth)))
    torch.testing.assert_close(linear, exponential, equal_nan=True)


def test_a_tie_is_the_worst_of_all_orders() -> None:
    """Every order of rows with equal scores, tried one by one."""
    scores = torch.tensor([[2.0, 1.0, 1.0, 1.0, 1.0, -math.inf, -math.inf]])
    grades = torch.tensor([[0.0, 3.0, 1.0, 0.0, 2.0, 4.0, 0.0]])
    columns, gains = judged(grades)
    ranks, worth = graded_ranks(scores, columns, gains)
    assert [(r, w) for r, w in zip(ranks[0].tolist(), worth[0].tolist(), strict=True) if r] == [
        (3, 1.0),  # after row 0 and the one of no gain that ties
        (4, 2.0),
        (5, 3.0),
        (7, 4.0),
    ]
    for k in range(1, 8):
        best = sum(gain / math.log2(1 + place) for place, gain in enumerate([4, 3, 2, 1][:k], 1))
        orders = [
            [0.0, *middle, *last] for middle in permutations([3.0, 1.0, 0.0, 2.0]) for last in permutations([4.0, 0.0])
        ]
        found = [sum(g / math.log2(1 + place) for place, g in enumerate(order[:k], 1)) / best for order in orders]
        assert ndcg(ranks, worth, k).item() == pytest.approx(min(found))


def test_a_constant_scorer_gets_less_than_any_other() -> None:
    columns, gains = torch.tensor([[3]]), torch.tensor([[1.0]])
    ranks, worth = graded_ranks(torch.zeros(1, 8), columns, gains)
    assert ndcg(ranks, worth).item() == pytest.approx(1 / math.log2(9))
    assert ndcg(ranks, worth, 7).item() == 0.0


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_every_chunk_gives_what_the_whole_matrix_gives(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, gallery = (torch.randint(-1, 2, (n, 6), generator=generator).float() for n in (12, 60))
    columns, gains = judged(untied()[1])
    report = retrieve_graded(
        Embedding({"dense": queries}), Embedding({"dense": gallery}), columns, gains, Dot(1.0), ks=(5, 1), chunk=chunk
    )
    ranks, worth = graded_ranks(queries @ gallery.T, columns, gains)
    assert list(report.ndcg) == [1, 5]
    for k in (1, 5):
        each = ndcg(ranks, worth, k)
        assert report.ndcg[k] == pytest.approx(each.nanmean().item())
        torch.testing.assert_close(report.per_query[k], each, equal_nan=True)
        assert report.precision[k] == pytest.approx(metrics.precision_at(ranks, k).nanmean().item())
        assert report.map_at[k] == pytest.approx(metrics.mean_average_precision(ranks, k))
    assert report.r_precision == pytest.approx(metrics.r_precision(ranks).nanmean().item())
    assert report.mrr == pytest.approx(metrics.mean_reciprocal_rank(ranks))
    assert (report.queries, report.gallery, report.queries_without_positive) == (12, 60, 1)
    assert json.loads(json.dumps(report.to_json()))["ndcg"]["5"] == report.ndcg[5]
    assert report.flat("t2i")["t2i_ndcg@5"] == report.ndcg[5]


def test_keys_are_grades_of_1() -> None:
    generator = torch.Generator().manual_seed(3)
    queries, gallery = (Embedding({"dense": torch.randn(n, 4, generator=generator)}) for n in (20, 30))
    query_keys, gallery_keys = (torch.randint(0, 8, (n, 1), generator=generator) for n in (20, 30))
    columns = KeyIndex.of(gallery_keys).sharing(query_keys)
    graded = retrieve_graded(queries, gallery, columns, (columns >= 0).float(), Dot(1.0))
    plain = retrieve(queries, gallery, query_keys, gallery_keys, Dot(1.0))
    assert graded.map_at == pytest.approx(plain.map_at)
    assert (graded.r_precision, graded.mrr) == pytest.approx((plain.r_precision, plain.mrr))
    assert graded.queries_without_positive == plain.queries_without_positive


def test_what_makes_no_sense_is_refused() -> None:
    scores, columns = torch.zeros(2, 4), torch.tensor([[0, 1], [2, -1]])
    with pytest.raises(ValueError, match=r"query 8 gives row 2 a gain of -1\.0"):
        graded_ranks(scores, columns, torch.tensor([[1.0, 1.0], [-1.0, 0.0]]), first_query=7)
    with pytest.raises(ValueError, match="a gain of nan"):
        graded_ranks(scores, columns, torch.tensor([[1.0, math.nan], [1.0, 0.0]]))
    with pytest.raises(ValueError, match=r"expected columns and gains \[2, P\]"):
        graded_ranks(scores, columns, torch.ones(2, 3))
    with pytest.raises(ValueError, match="2 of 8 scores are NaN"):
        graded_ranks(scores.index_fill(1, torch.tensor([1]), math.nan), columns, torch.ones(2, 2))
    with pytest.raises(ValueError, match="k is 0"):
        ndcg(torch.tensor([[1]]), torch.tensor([[1.0]]), 0)
    rows = Embedding({"dense": torch.eye(4)})
    ask = {"gallery": rows, "scorer": Dot(1.0)}
    with pytest.raises(ValueError, match="query 1 names row 4 of a gallery of 4"):
        retrieve_graded(rows[:2], columns=torch.tensor([[0], [4]]), gains=torch.ones(2, 1), **ask)
    with pytest.raises(ValueError, match="query 1 names row 3 more than once"):
        retrieve_graded(rows[:2], columns=torch.tensor([[0, -1, -1], [3, 1, 3]]), gains=torch.ones(2, 3), **ask)
    with pytest.raises(ValueError, match="there are 3 queries"):
        retrieve_graded(rows[:3], columns=columns, gains=torch.ones(2, 2), **ask)
    with pytest.raises(ValueError, match="ks are"):
        retrieve_graded(rows[:2], columns=columns, gains=torch.ones(2, 2), ks=(0,), **ask)
    with pytest.raises(ValueError, match="none of 2 queries has a positive"):
        retrieve_graded(rows[:2], columns=columns, gains=torch.zeros(2, 2), **ask)
