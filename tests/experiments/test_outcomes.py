"""Metrics of ranks are what they say, groups of queries are connected, and an outcome is read as it was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych.experiments.outcomes import Metric, Outcome, clusters_of


def test_metrics_of_ranks():
    rank = np.array([1, 2, 10, 11, 500])
    assert Metric.parse("t2i_recall@10").of(rank).tolist() == [1, 1, 1, 0, 0]
    assert Metric.parse("i2t_mrr").of(rank).tolist() == [1, 1 / 2, 1 / 10, 1 / 11, 1 / 500]


@pytest.mark.parametrize("name", ["t2i_recall@1", "i2t_recall@25", "t2i_mrr"])
def test_a_metric_is_named_as_it_was(name: str):
    assert str(Metric.parse(name)) == name


@pytest.mark.parametrize("name", ["recall@10", "t2i_map", "t2i_recall@", "t2i_recall@0", "t2i_median_rank", ""])
def test_what_is_no_mean_over_queries_is_refused(name: str):
    with pytest.raises(ValueError, match="cannot be compared query by query; there are t2i_recall@K"):
        Metric.parse(name)


def test_groups_are_those_that_keys_connect():
    # 0 and 3 share 7; 3 and 4 share 9, so 0 and 4 are together without sharing; 2 has no key.
    keys = np.array([[7, -1], [1, -1], [-1, -1], [9, 7], [9, 8], [1, 2]])
    assert clusters_of(keys).tolist() == [0, 1, 2, 0, 0, 1]
    assert clusters_of(np.zeros((0, 2), np.int64)).tolist() == []


def test_groups_agree_with_brute_force():
    random = np.random.default_rng(0)
    keys = random.integers(0, 150, (80, 2))
    together = (keys[:, None, :, None] == keys[None, :, None, :]).any((2, 3))
    for _ in range(80):  # its transitive closure
        together = (together.astype(int) @ together.astype(int)) > 0
    found = clusters_of(keys)
    assert ((found[:, None] == found[None]) == together).all()
    assert 10 < len(set(found.tolist())) < 70


def test_an_outcome_is_read_as_it_was_written(tmp_path: Path):
    rank = {"t2i": np.array([1, 0, 4]), "i2t": np.array([2, 2])}
    cluster = {"t2i": np.array([0, 0, 1]), "i2t": np.array([0, 1])}
    kept = Outcome({"t2i_recall@1": 0.5}, {"steps": 3, "memory_mb": None}, rank, cluster, "abc")
    assert Outcome.find(tmp_path) is None
    kept.save(tmp_path)
    found = Outcome.find(tmp_path)
    assert found is not None and (found.numbers, found.cost, found.rows) == (kept.numbers, kept.cost, "abc")
    assert all(np.array_equal(found.rank[way], rank[way]) for way in rank)
    assert all(np.array_equal(found.cluster[way], cluster[way]) for way in rank)


def test_an_outcome_half_written_is_none(tmp_path: Path):
    rank = {"t2i": np.array([1]), "i2t": np.array([2])}
    Outcome({}, {}, rank, rank, "").save(tmp_path)
    (tmp_path / "outcome.json").unlink()  # as after a kill between the two files
    assert Outcome.find(tmp_path) is None
