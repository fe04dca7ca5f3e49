"""Splits: selected by name, or made from ids, the same everywhere."""

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.data.sources import TableError, holdout, select_split
from diptych.data.sources.selection import keep_rows


def table_of_ids(ids: list[str]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"id": ids})


def test_a_split_is_its_rows_in_order():
    table = datasets.Dataset.from_dict({"id": list("abcd"), "split": ["train", "test", None, "test"]})
    assert select_split(table, "test")["id"][:] == ["b", "d"]
    assert select_split(table, "all") is table
    with pytest.raises(TableError, match=r"no split 'val'; it has: train \(1 rows\), test \(2 rows\), None \(1 rows\)"):
        select_split(table, "val")
    with pytest.raises(TableError, match=r"the table has no splits.*holdout"):
        select_split(table_of_ids(["a"]), "test")


def test_sides_do_not_change_between_machines_versions_or_tables():
    # `printf 18 | b2sum -l 64` is 182d..., below a tenth of the range (1999...); of 0 ... 19 no other id is.
    ids = [str(i) for i in range(20)]
    assert [own for own, side in zip(ids, holdout(table_of_ids(ids))["split"][:], strict=True) if side == "test"] == [
        "18"
    ]
    more = [str(i) for i in range(1000)]
    sides = dict(zip(more, holdout(table_of_ids(more))["split"][:], strict=True))
    assert [own for own in ids if sides[own] == "test"] == ["18"]
    assert 0.07 < sum(side == "test" for side in sides.values()) / 1000 < 0.13  # 3 standard deviations of 0.0095


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=3), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_one_id_is_on_one_side_and_both_sides_have_rows(ids: list[str], fraction: float):
    table = table_of_ids(ids)
    if len(set(ids)) == 1:
        with pytest.raises(TableError, match="at least two"):
            holdout(table, fraction)
        return
    pairs = set(zip(ids, holdout(table, fraction)["split"][:], strict=True))
    assert len(pairs) == len(set(ids))
    assert {side for _, side in pairs} == {"train", "test"}


def test_a_table_with_splits_is_left_as_it_is():
    table = datasets.Dataset.from_dict({"id": ["a"], "split": ["test"]})
    assert holdout(table) is table


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 10])
def test_a_fraction_that_is_none_is_refused(fraction: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holdout(table_of_ids(["a", "b"]), fraction)


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 29)))
def test_rows_kept_are_those_asked_for_in_memory_and_on_disk(tmp_path_factory: pytest.TempPathFactory, rows: set[int]):
    folder = tmp_path_factory.getbasetemp() / "thirty"
    if not folder.exists():
        datasets.Dataset.from_dict({"n": list(range(30))}).save_to_disk(folder)
    for table in (datasets.Dataset.from_dict({"n": list(range(30))}), datasets.load_from_disk(folder)):
        assert isinstance(table, datasets.Dataset)
        assert keep_rows(table, sorted(rows))["n"][:] == sorted(rows)
