"""Which rows go into which batch: counts known ahead, shares as asked for, an order that the key alone decides."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.training.sampler import Epoch, Sampler, Shuffled
from diptych.training.samplers import Balanced, Curriculum, HardNegatives
from diptych.training.samplers.neighbours import _unit_on_grid

SAMPLERS: list[Sampler] = [
    Shuffled(),
    Shuffled(bucket=4),
    Balanced("kind"),
    Balanced("kind", power=0.5, stratified=True),
    Curriculum("score", start=0.3, warm=0.7),
    HardNegatives(group=2, cell=16),
    HardNegatives(group=5, warm=0.0, cell=9),
]
ONCE = [sampler for sampler in SAMPLERS if isinstance(sampler, Shuffled | HardNegatives)]


def epoch(rows: int, number: int = 0, of: int = 4, *, seed: int = 0) -> Epoch:
    """An epoch of a table that has all the columns."""
    random = np.random.default_rng(rows)
    columns = {
        "kind": random.integers(0, 4, rows) ** 2,
        "score": random.integers(0, 5, rows).astype(float),
        "embedding": random.normal(size=(rows, 3)),
    }
    return Epoch(rows, number, of, (seed, 0, number), random.integers(1, 30, rows), columns)


def listed(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 90), size=st.integers(1, 40), number=st.integers(0, 3))
def test_the_batches_are_as_many_as_counted_and_of_nearly_equal_size(
    sampler: Sampler, rows: int, size: int, number: int
):
    batches = sampler(epoch(rows, number), size)
    assert len(batches) == sampler.count(rows, size, number=number, of=4)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size and max(sizes) - min(sizes) <= 1
    assert all(0 <= row < rows for batch in batches for row in batch)


@pytest.mark.parametrize("sampler", ONCE, ids=repr)
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 90), size=st.integers(1, 40), number=st.integers(0, 3))
def test_every_row_comes_once(sampler: Sampler, rows: int, size: int, number: int):
    batches = sampler(epoch(rows, number), size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_the_key_decides_the_order(sampler: Sampler):
    one, again, later, other = (
        listed(sampler(epoch(64, number, seed=seed), 8)) for number, seed in ((2, 1), (2, 1), (3, 1), (2, 7))
    )
    assert one == again
    assert one != later and one != other


def test_bucketing_puts_like_lengths_together():
    lengths = np.random.default_rng(1).integers(1, 60, 640)

    def padding(bucket: int) -> float:
        batches = Shuffled(bucket)(Epoch(640, lengths=lengths), 32)
        return float(np.mean([(lengths[b].max() - lengths[b]).mean() for b in batches]))

    # Uniform lengths: a random batch of 32 wastes about half of the longest, a sorted ten of them a twentieth.
    assert padding(10) < 0.25 * padding(1)


def kinds(values: list, number: int = 0, *, as_type: type = object) -> Epoch:
    return Epoch(len(values), number, 9, (0, 0, number), columns={"kind": np.array(values, dtype=as_type)})


def drawn(sampler: Sampler, known: Epoch, size: int = 4) -> list[int]:
    return np.concatenate(sampler(known, size)).tolist()


def test_groups_have_the_shares_of_their_powers():
    values = ["a"] * 9 + ["b"] * 4 + ["c"]

    def counts(power: float) -> list[int]:
        found = Counter(values[row] for row in drawn(Balanced("kind", power), kinds(values)))
        return [found[kind] for kind in "abc"]

    assert counts(1.0) == [9, 4, 1]
    assert counts(0.5) == [7, 5, 2]  # 3 : 2 : 1 of 14 are 7, 4 2/3, 2 1/3
    assert counts(0.0) == [5, 4, 5]  # 4 2/3 each; each is rounded so that the edges 4 2/3, 9 1/3, 14 are


def test_shares_hold_over_the_epochs_where_one_epoch_must_round():
    values = ["a"] * 9 + ["b"] * 4 + ["c"]
    found = Counter(values[row] for n in range(9) for row in drawn(Balanced("kind"), kinds(values, n)))
    assert found == {"a": 42, "b": 42, "c": 42}  # a third of 9 x 14


def test_a_group_is_used_up_before_a_row_comes_again():
    values = ["a"] * 12 + ["b"] * 3
    epochs = [drawn(Balanced("kind"), kinds(values, n)) for n in range(8)]
    for kind, members in (("a", set(range(12))), ("b", {12, 13, 14})):
        stream = Counter()
        for rows in epochs:
            stream.update(row for row in rows if values[row] == kind)
            # At any time no row is ahead of another by more than the pass that is under way.
            assert max(stream.values()) - min(stream[row] for row in members) <= 1
        assert set(stream) == members


def test_power_one_is_every_row_once():
    assert sorted(drawn(Balanced("kind", 1.0), kinds(["a", "b", "a", "c", None]))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "values", [["a"] * 6 + [None] * 2, [1.5] * 6 + [float("nan")] * 2, [1.5] * 6 + [None, float("nan")]]
)
def test_missing_values_are_a_group_of_their_own(values: list):
    found = Counter(row >= 6 for row in drawn(Balanced("kind"), kinds(values)))
    assert found == {True: 4, False: 4}


def test_stratified_batches_have_their_share_of_every_group():
    values = ["a"] * 900 + ["b"] * 90 + ["c"] * 10

    def furthest(stratified: bool) -> float:
        batches = Balanced("kind", stratified=stratified)(kinds(values), 50)
        counts = np.array([[sum(values[row] == kind for row in batch) for kind in "abc"] for batch in batches])
        return float(np.abs(counts - 50 / 3).max())

    # Evenly spread groups of equal share miss it by less than 2 (1 by their own rounding, 1 by the others');
    # by chance it is 50 draws of a third: a spread of 3.3.
    assert furthest(True) < 2 < furthest(False)


def scored(number: int, of: int = 4) -> Epoch:
    return Epoch(10, number, of, (0, 0, number), columns={"score": np.arange(10) / 10})


def test_a_curriculum_by_hand():
    sampler = Curriculum("score", start=0.2, warm=0.5)
    seen = [sorted(drawn(sampler, scored(number))) for number in range(4)]
    # Shares 0.2, 0.2 + 0.8 x 1/2, then 1.
    assert seen == [[8, 9], [4, 5, 6, 7, 8, 9], list(range(10)), list(range(10))]
    assert [sampler.count(10, 4, number=number, of=4) for number in range(4)] == [1, 2, 3, 3]
    low = Curriculum("score", start=0.2, warm=0.5, low_first=True)
    assert sorted(drawn(low, scored(0))) == [0, 1]
    assert len(drawn(Curriculum("score", warm=0.0), scored(0))) == 10


def test_what_a_curriculum_has_shown_it_shows_on_where_scores_are_equal():
    sampler = Curriculum("score", start=0.1, warm=1.0)
    equal = {"score": np.zeros(50)}
    seen = [set(drawn(sampler, Epoch(50, n, 5, (3, 0, n), columns=equal))) for n in range(5)]
    assert [len(rows) for rows in seen] == [5, 14, 23, 32, 41]  # 0.1 + 0.9 x e / 5
    assert all(a < b for a, b in pairwise(seen))


def clustered(clusters: int, each: int, *, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around random centres, in mixed order, and the cluster of each."""
    random = np.random.default_rng(5)
    label = random.permutation(np.repeat(np.arange(clusters), each))
    return random.normal(size=(clusters, 16))[label] + spread * random.normal(size=(len(label), 16)), label


def test_a_group_is_a_row_and_its_nearest():
    vectors, label = clustered(8, 8, spread=0.01)
    batches = HardNegatives(group=8, warm=0.0)(Epoch(64, columns={"embedding": vectors}), 32)
    # Clusters far apart, as large as a group: a batch of 32 is four whole clusters.
    assert all(sorted(Counter(label[batch].tolist()).values()) == [8, 8, 8, 8] for batch in batches)


@pytest.mark.parametrize("cell", [64, 1024])
def test_batches_hold_more_rows_that_are_alike(cell: int):
    vectors, label = clustered(64, 16, spread=0.5)
    known = Epoch(1024, 1, 10, columns={"embedding": vectors})

    def alike(sampler: Sampler) -> float:
        same = [(label[b][:, None] == label[b][None]).sum(1).mean() - 1 for b in sampler(known, 64)]
        return float(np.mean(same))

    # By chance 63 others x 15/1023 = 0.9 of one's cluster; a whole group would be 7.
    assert alike(Shuffled()) < 1.2
    assert alike(HardNegatives(group=8, cell=cell)) > 4


def test_the_first_epochs_are_shuffled_and_need_no_embeddings():
    shuffled, mined = Epoch(40, 1, 10), Epoch(40, 2, 10)
    sampler = HardNegatives(warm=0.2)
    assert listed(sampler(shuffled, 8)) == listed(Shuffled()(shuffled, 8))
    with pytest.raises(ValueError, match="no column 'embedding'"):
        sampler(mined, 8)


def test_similarities_are_exact_so_that_no_number_of_threads_changes_a_group():
    x = _unit_on_grid(np.random.default_rng(0).normal(size=(20, 700))).astype(np.float64)
    product = x @ x.T
    assert all(
        product[i, j] == fsum(a * b for a, b in zip(x[i], x[j], strict=True)) for i in range(20) for j in range(i)
    )


def test_equal_and_empty_vectors_are_grouped_too():
    batches = HardNegatives(group=4, warm=0.0, cell=8)(Epoch(50, columns={"embedding": np.zeros((50, 3))}), 8)
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Shuffled(0), "bucket is 0"),
        (lambda: Balanced(""), "name of a column"),
        (lambda: Balanced("kind", 1.5), "power is 1.5"),
        (lambda: Curriculum("score", start=0.0), "start is 0.0"),
        (lambda: Curriculum("score", warm=2.0), "warm is 2.0"),
        (lambda: HardNegatives(group=1), "group is 1"),
        (lambda: HardNegatives(warm=-0.1), "warm is -0.1"),
        (lambda: HardNegatives(group=8, cell=4), "cell is 4"),
    ],
)
def test_numbers_out_of_range_are_refused(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("sampler", "column", "message"),
    [
        (Balanced("kind"), None, "no column 'kind'"),
        (Balanced("kind"), np.zeros((3, 2)), "column 'kind' holds 2-dimensional values such as 0.0; groups are made"),
        (Balanced("kind"), np.array([["a"], [], ["b", "c"]], dtype=object), "column 'kind' holds list in row 0"),
        (Balanced("kind"), np.zeros(4), r"column 'kind' is \[4\]; the table has 3 rows"),
        (Curriculum("score"), None, "no column 'score'"),
        (
            Curriculum("score"),
            np.array(["x", "y", "z"]),
            "column 'score' holds values such as 'x'; expected one number",
        ),
        (
            Curriculum("score"),
            np.array([1.0, np.nan, np.inf]),
            "column 'score' is not finite in 2 rows, first in row 1",
        ),
        (Curriculum("score"), np.array([1.0, 2.0, None]), "column 'score' has no value in 1 rows, first in row 2"),
        (HardNegatives(warm=0), None, "no column 'embedding'"),
        (HardNegatives(warm=0), np.zeros(3), "column 'embedding' holds values such as 0.0; expected one vector a row"),
        (HardNegatives(warm=0), np.full((3, 2), np.nan), "column 'embedding' is not finite in 3 rows"),
    ],
)
def test_what_a_column_lacks_is_said_by_its_name(sampler: Sampler, column: np.ndarray | None, message: str):
    columns = {} if column is None else {sampler.columns[0]: column}
    with pytest.raises(ValueError, match=message):
        sampler(Epoch(3, 2, 4, columns=columns), 2)


def test_vectors_and_numbers_may_come_as_lists():
    rows = np.empty(3, dtype=object)
    rows[:] = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]]
    batches = HardNegatives(group=2, warm=0)(Epoch(3, columns={"embedding": rows}), 3)
    assert sorted(np.concatenate(batches).tolist()) == [0, 1, 2]
    whole = np.array([3, 1, 2], dtype=object)
    assert drawn(Curriculum("score", start=0.3), Epoch(3, columns={"score": whole})) == [0]
