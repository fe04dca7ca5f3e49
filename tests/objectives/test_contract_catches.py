"""The contract tests catch what they are meant to catch: each law is broken, and its own test says so."""

from __future__ import annotations

from collections.abc import Callable

import contract
import probe
import pytest
import ranks
import replay
import wrong
from test_contract import LAWS

from diptych.core import Objective, configuration

Law = Callable[[type[Objective]], None]
right = pytest.mark.parametrize("cls", [wrong.Right, wrong.Taught], ids=lambda cls: cls.__name__)


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch):
    """Let the objectives of `wrong.py` be built from their descriptions."""
    monkeypatch.setattr(configuration, "trusted_packages", lambda: {"diptych", "wrong"})


@right
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
def test_what_keeps_every_law_passes(cls: type[Objective], law: Law):
    law(cls)


@pytest.mark.parametrize(
    ("law", "cls", "words"),
    [
        (contract.check_it_is_a_sum_over_anchor_rows, wrong.Mean, "the sum is"),
        (contract.check_it_is_a_sum_over_anchor_rows, wrong.Centred, "the sum is"),
        (contract.check_it_is_pure, wrong.Remembering, "forward changed objective/seen"),
        (contract.check_order_changes_nothing, wrong.Diagonal, "another order"),
        (contract.check_order_changes_nothing, wrong.PlacedNoise, "another order"),
        (contract.check_gradients_are_finite, wrong.Undefined, "nothing matches"),
        (contract.check_padding_changes_nothing, wrong.ZeroPadded, "padded"),
        (contract.check_padding_changes_nothing, wrong.PaddingRead, "not real get a gradient"),
        (contract.check_padding_changes_nothing, wrong.IdsRead, "padded"),
        (contract.check_padding_changes_nothing, wrong.PaddingScored, "padded"),
        (contract.check_padding_changes_nothing, wrong.KeysCounted, "padded"),
        (contract.check_draws_are_keyed_by_items, wrong.NumpyNoise, "another global random state"),
        (contract.check_it_is_near_in_bfloat16, wrong.Rough, "in bfloat16"),
        (contract.check_gradient_steps_lower_it, wrong.Uphill, "in 40 steps"),
        (contract.check_it_can_be_saved, wrong.Unsaved, "built again"),
        (contract.check_its_size_adds_up, wrong.SizedOnce, "add up"),
        (contract.check_it_reads_what_it_needs_alone, wrong.Peeking, "reads the view 'image'"),
        (contract.check_it_reads_what_it_needs_alone, wrong.Roaming, "goes over all views"),
        (contract.check_it_reads_what_it_needs_alone, wrong.SizedByAll, "its size"),
        (contract.check_it_reads_what_it_needs_alone, wrong.Partless, r"needs the parts \['late'\]"),
        (contract.check_update_is_the_same_everywhere, wrong.OwnRows, "own process's rows"),
        (probe.check_shared_keys_are_never_negatives, wrong.Partners, "pushed apart"),
        (probe.check_shared_keys_are_never_negatives, wrong.Hinge, "pushed apart"),
        (probe.check_shared_keys_are_never_negatives, wrong.OwnProducts, "'dense' of .* pushed apart"),
        (probe.check_short_cuts_lead_to_the_same_place, wrong.ShortCut, "another type"),
        (replay.check_order_changes_nothing, wrong.PlacedNoise, "rows in another order"),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_what_breaks_a_law_is_caught(law: Law, cls: type[Objective], words: str):
    with pytest.raises(AssertionError, match=words):
        law(cls)


def test_an_argument_that_is_not_kept_is_caught():
    with pytest.raises(configuration.ConfigurationError, match="'extra'"):
        contract.check_it_can_be_saved(wrong.Forgetful)


@right
@pytest.mark.parametrize("how", replay.CUTS)
def test_steps_of_what_keeps_every_law_are_equal(cls: type[Objective], how: str):
    replay.check_cuts_change_nothing(cls, replay.CUTS[how])


@right
def test_steps_of_what_keeps_every_law_are_equal_in_any_order(cls: type[Objective]):
    replay.check_order_changes_nothing(cls)


def test_a_step_in_chunks_catches_statistics_of_anchor_rows():
    with pytest.raises(AssertionError, match="step with"):
        replay.check_cuts_change_nothing(wrong.Centred, {"rows": 2})


@right
@pytest.mark.parametrize("split", ranks.SPLITS)
def test_processes_of_what_keeps_every_law_are_equal(cls: type[Objective], split: str, processes: ranks.Results):
    ranks.check_processes_change_nothing(cls, split, processes)


def test_processes_catch_statistics_of_anchor_rows(processes: ranks.Results):
    with pytest.raises(AssertionError, match="process 0 of 2"):
        ranks.check_processes_change_nothing(wrong.Centred, "by item", processes)


def test_the_error_of_one_process_ends_its_own_case_alone(processes: ranks.Results):
    ranks.check_processes_change_nothing(wrong.Picky, "by item", processes)
    assert processes["Picky", "all and none"][1] == "ValueError: no rows at all"
    with pytest.raises(AssertionError, match="process 0 failed"):
        ranks.check_processes_change_nothing(wrong.Picky, "all and none", processes)
    ranks.check_processes_change_nothing(wrong.Right, "none and all", processes)
