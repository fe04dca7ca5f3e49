"""Languages: hand-worked variances, a reading with NumPy, and queries of several texts or of none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from diptych.core.embedding import Embedding
from diptych.evaluation.languages import by_language, mean_rank_deviation, mean_rank_variance, rank_table
from diptych.evaluation.retrieval import retrieve
from diptych.scoring import Dot


def test_hand_worked() -> None:
    ranks = torch.tensor([[1, 3, 5], [2, 2, 2], [4, 0, 8]])  # the last is not asked for in the second language
    assert mean_rank_variance(ranks) == pytest.approx(((4 + 0 + 4) / 3 + 0 + 4) / 3)
    assert mean_rank_deviation(ranks) == pytest.approx(((8 / 3) ** 0.5 + 0 + 2) / 3)
    assert mean_rank_variance(torch.tensor([[1, 1000]])) == 999**2 / 4
    assert mean_rank_variance(ranks.double().masked_fill(ranks == 0, torch.nan)) == mean_rank_variance(ranks)


def test_it_is_the_variance_of_numpy_and_not_that_of_a_sample() -> None:
    ranks = np.random.default_rng(0).integers(1, 500, (40, 6))
    assert mean_rank_variance(torch.from_numpy(ranks)) == pytest.approx(ranks.var(1).mean())
    assert mean_rank_deviation(torch.from_numpy(ranks)) == pytest.approx(ranks.std(1).mean())


def test_the_table_averages_texts_of_one_language() -> None:
    # Item 5 has two German texts at ranks 2 and 6, of which one more without a right row does not count.
    best = torch.tensor([2, 6, 0, 10, 1])
    table, names = rank_table(best, torch.tensor([5, 5, 5, 5, 3]), ["de", "de", "de", "en", "en"])
    assert names == ["de", "en"]
    np.testing.assert_array_equal(table.numpy(), [[np.nan, 1], [4, 10]])


def test_languages_may_agree_in_recall_and_differ_in_what_they_find() -> None:
    best = torch.tensor([1, 20, 20, 1])
    report = by_language(best, torch.tensor([0, 1, 0, 1]), ["en", "en", "ja", "ja"], ks=(10, 1))
    assert report.recall == {"en": {1: 0.5, 10: 0.5}, "ja": {1: 0.5, 10: 0.5}}
    assert report.spread == {1: 0.0, 10: 0.0}
    assert (report.mean_rank_variance, report.mean_rank_deviation) == (9.5**2, 9.5)
    assert report.flat("t2i")["t2i_ja_recall@10"] == 0.5
    assert json.loads(json.dumps(report.to_json()))["mean_rank_variance"] == 9.5**2


def test_it_reads_what_retrieval_gives() -> None:
    """Texts of three languages that say the same have no variance; one language of noise has."""
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(30, 8, generator=generator), dim=1)
    noise = torch.randn(30, 8, generator=generator)
    items, languages = torch.arange(30).repeat(3), [name for name in ("cs", "de", "fr") for _ in range(30)]

    def measured(third: torch.Tensor):  # type: ignore[no-untyped-def]
        text = Embedding({"dense": torch.cat([image, image, third])})
        found = retrieve(text, Embedding({"dense": image}), items[:, None], torch.arange(30)[:, None], Dot(1.0))
        return by_language(found.best_rank, items, languages)

    assert measured(image).mean_rank_variance == 0.0
    report = measured(noise)
    assert report.recall["cs"][1] == report.recall["de"][1] == 1.0 > report.recall["fr"][10]
    assert report.spread[1] == 1.0 - report.recall["fr"][1]
    assert report.mean_rank_variance > 1.0
    assert report.queries == {"cs": 30, "de": 30, "fr": 30}


def test_one_language_alone_has_recall_but_no_variance() -> None:
    report = by_language(torch.tensor([1, 0, 2]), torch.tensor([0, 1, 2]), ["en"] * 3, ks=(1,))
    assert report.recall == {"en": {1: 0.5}} and report.queries == {"en": 2}
    assert (report.items, report.queries_without_positive) == (0, 1)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["mean_rank_variance"] is None
    assert "t2i_mean_rank_variance" not in report.flat("t2i")


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="no item was asked for in two languages"):
        mean_rank_variance(torch.tensor([[1, 0], [0, 3]]))
    with pytest.raises(ValueError, match=r"a language for each of 1 or more queries, not \(2,\), \(2,\) and 1"):
        rank_table(torch.tensor([1, 2]), torch.tensor([0, 1]), ["en"])
    with pytest.raises(ValueError, match="none of the 1 queries in 'de' has a right row"):
        by_language(torch.tensor([1, 0]), torch.tensor([0, 0]), ["en", "de"])
    with pytest.raises(ValueError, match="ks are empty"):
        by_language(torch.tensor([1]), torch.tensor([0]), ["en"], ks=())
