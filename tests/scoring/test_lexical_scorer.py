"""The lexical scorer: an inner product whose words add up to it."""

from __future__ import annotations

import pytest
import torch

from diptych.core import Embedding
from diptych.scoring import Lexical


def sparse(rows: int, seed: int, space: str = "lexical") -> Embedding:
    weights = torch.randn(rows, 30, generator=torch.Generator().manual_seed(seed)).relu()
    return Embedding({space: weights})


def test_words_add_up_to_the_score():
    scorer, query, gallery = Lexical(3.0), sparse(1, 0), sparse(7, 1)
    words = [f"word {v}" for v in range(30)]
    scores = scorer(query, gallery)[0]
    for i, said in enumerate(scorer.explain(query, gallery, words=words)):
        assert sum(word.score for word in said) == pytest.approx(float(scores[i].detach()), rel=1e-5)  # float32 sums
        assert sum(word.share for word in said) == pytest.approx(1, rel=1e-5)
        assert [word.score for word in said] == sorted((word.score for word in said), reverse=True)
        for word in said:
            a, b = query.vectors["lexical"][0, word.dimension], gallery.vectors["lexical"][i, word.dimension]
            assert word.word == f"word {word.dimension}" and word.score == pytest.approx(3 * float(a * b), rel=1e-5)
    assert [len(said) for said in scorer.explain(query, gallery, top=2)] == [2] * 7


def test_rows_that_share_nothing_have_no_words_and_score_0():
    a, b = Embedding({"lexical": torch.tensor([[1.0, 0.0]])}), Embedding({"lexical": torch.tensor([[0.0, 2.0]])})
    assert Lexical().explain(a, b) == [[]] and float(Lexical()(a, b).detach()) == 0


def test_pairs_are_the_diagonal_and_the_first_space_there_is_is_compared():
    a, b, scorer = sparse(6, 0), sparse(6, 1), Lexical(7.0)
    torch.testing.assert_close(scorer.pairs(a, b), scorer(a, b).diagonal())
    bags = sparse(6, 2, "bag")
    both = Embedding({**a.vectors, **bags.vectors})
    prefers = Lexical(7.0, spaces=("bag", "lexical"))
    torch.testing.assert_close(prefers(both, b), 7 * bags.vectors["bag"] @ b.vectors["lexical"].T)
    with pytest.raises(KeyError, match="no space of"):
        scorer(bags, b)


def test_the_scale_learns_only_where_it_may_and_never_passes_its_limit():
    assert [name for name, _ in Lexical(2.0, learned=False).named_parameters()] == []
    scorer = Lexical(90.0)
    with torch.no_grad():
        scorer.log_scale.add_(5)
    assert float(scorer.current_scale().detach()) == pytest.approx(100)
    with pytest.raises(ValueError, match="scale is 0"):
        Lexical(0)


def test_wrong_questions_are_refused():
    with pytest.raises(ValueError, match="there are 2 queries"):
        Lexical().explain(sparse(2, 0), sparse(3, 1))
    with pytest.raises(ValueError, match="1 words for 30 dimensions"):
        Lexical().explain(sparse(1, 0), sparse(3, 1), words=["a"])
