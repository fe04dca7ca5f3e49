"""What every objective must keep to: each `Objective` of the package is found, built by its `example()`, checked."""

from __future__ import annotations

from collections.abc import Callable

import cases
import contract
import probe
import pytest
import ranks
import replay

import diptych.objectives
from diptych.core import Objective

FOUND = cases.objectives()
LAWS = [
    contract.check_it_is_a_sum_over_anchor_rows,
    contract.check_it_is_pure,
    contract.check_order_changes_nothing,
    contract.check_gradients_are_finite,
    contract.check_padding_changes_nothing,
    contract.check_draws_are_keyed_by_items,
    contract.check_it_is_near_in_bfloat16,
    contract.check_gradient_steps_lower_it,
    contract.check_it_can_be_saved,
    contract.check_its_size_adds_up,
    contract.check_it_reads_what_it_needs_alone,
    contract.check_update_is_the_same_everywhere,
    probe.check_shared_keys_are_never_negatives,
    probe.check_short_cuts_lead_to_the_same_place,
]
of_every_objective = pytest.mark.parametrize("cls", FOUND, ids=lambda cls: cls.__name__)


def test_every_objective_that_is_exported_is_found():
    exported = {getattr(diptych.objectives, name) for name in diptych.objectives.__all__}
    assert FOUND and {x for x in exported if isinstance(x, type) and issubclass(x, Objective)} <= set(FOUND)


def test_objectives_have_names_of_their_own():
    """Logs go by the objective's name, results of the two processes here by the class's."""
    assert len({cls.__name__ for cls in FOUND}) == len({cls.example().objective.name for cls in FOUND}) == len(FOUND)


@of_every_objective
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_law(cls: type[Objective], law: Callable[[type[Objective]], None]):
    law(cls)


@of_every_objective
@pytest.mark.parametrize("how", replay.CUTS)
def test_a_step_gives_one_answer_however_it_is_cut(cls: type[Objective], how: str):
    replay.check_cuts_change_nothing(cls, replay.CUTS[how])


@of_every_objective
def test_a_step_gives_one_answer_in_any_order(cls: type[Objective]):
    replay.check_order_changes_nothing(cls)


@of_every_objective
@pytest.mark.parametrize("split", ranks.SPLITS)
def test_a_step_gives_one_answer_in_two_uneven_processes(cls: type[Objective], split: str, processes: ranks.Results):
    ranks.check_processes_change_nothing(cls, split, processes)
