"""Token pooling is Ward's clustering of each row's real tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from token_cases import padded, tokened
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.scoring import LateInteraction, pool_tokens


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 100])
def test_it_is_wards_clustering(factor: float):
    """Against scikit-learn's, row by row: the same means of the same clusters, whatever their order."""
    cluster = pytest.importorskip("sklearn.cluster")
    rows = tokened(20, 0, length=12, width=6)
    pooled = pool_tokens(rows, factor, rows=7)
    assert rows.tokens is not None and rows.mask is not None and pooled.tokens is not None and pooled.mask is not None
    for i in range(len(rows)):
        own = rows.tokens[i][rows.mask[i]].numpy()
        count = int(np.ceil(len(own) / factor))
        labels = cluster.AgglomerativeClustering(count).fit_predict(own) if len(own) > 1 else np.zeros(1, int)
        expected = F.normalize(torch.tensor(np.stack([own[labels == k].mean(0) for k in range(count)])), dim=-1)
        got = pooled.tokens[i][pooled.mask[i]]
        assert len(got) == count
        nearest = (got @ expected.T).max(1).indices
        assert sorted(nearest.tolist()) == list(range(count))
        torch.testing.assert_close(got, expected[nearest], rtol=0, atol=1e-10)  # float64 means of a few


def test_padding_and_other_rows_have_no_say():
    rows = tokened(6, 1, length=9)
    expected, got = pool_tokens(rows, 2), pool_tokens(padded(rows, 4, 2), 2)
    assert expected.tokens is not None and got.tokens is not None and got.mask is not None and expected.mask is not None
    torch.testing.assert_close(got.tokens[got.mask], expected.tokens[expected.mask], rtol=0, atol=1e-12)
    alone = pool_tokens(rows[2:3], 2)
    assert alone.tokens is not None and alone.mask is not None
    torch.testing.assert_close(alone.tokens[0][alone.mask[0]], expected.tokens[2][expected.mask[2]], rtol=0, atol=1e-12)


def test_tokens_that_are_alike_cost_nothing():
    """Each token three times over: a third of them score exactly as all do."""
    once = tokened(5, 3, length=4, width=8)
    assert once.tokens is not None
    all_three = Embedding(once.vectors, once.tokens.repeat(1, 3, 1), None)
    third, scorer, queries = pool_tokens(all_three, 3), LateInteraction().double(), tokened(3, 4, width=8)
    assert third.tokens is not None and third.tokens.shape == (5, 4, 8) and third.vectors is once.vectors
    torch.testing.assert_close(scorer(queries, third), scorer(queries, all_three), rtol=0, atol=1e-10)


def test_rows_without_tokens_stay_so():
    rows = Embedding({}, torch.zeros(2, 3, 4), torch.tensor([[False] * 3, [True, True, False]]))
    pooled = pool_tokens(rows, 2)
    assert pooled.mask is not None and pooled.mask.tolist() == [[False], [True]]
    empty = pool_tokens(rows[:0], 2)
    assert empty.tokens is not None and empty.tokens.shape == (0, 0, 4)
    with pytest.raises(ValueError, match=r"factor is 0\.5"):
        pool_tokens(rows, 0.5)
