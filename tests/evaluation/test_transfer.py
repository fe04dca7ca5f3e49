"""Transfer between tasks, worked by hand, and read from the definitions with loops."""

from __future__ import annotations

import math
from statistics import fmean, harmonic_mean

import pytest
import torch

from diptych.evaluation import transfer as measures

# Of three tasks the second helps the first, and the third harms both.
LEARNED = torch.tensor([[0.9, 0.2, 0.3], [0.95, 0.8, 0.4], [0.6, 0.7, 0.5]], dtype=torch.float64)
ZERO_SHOT = torch.tensor([0.5, 0.1, 0.5], dtype=torch.float64)
NAN = math.nan


def test_hand_worked() -> None:
    found = measures.transfer(LEARNED, ZERO_SHOT)
    assert found.average_accuracy == pytest.approx((0.6 + 0.7 + 0.5) / 3)
    assert found.backward_transfer == pytest.approx(((0.6 - 0.9) + (0.7 - 0.8)) / 2)
    assert found.forgetting == pytest.approx(((0.95 - 0.6) + (0.8 - 0.7)) / 2)  # from the best, not from the diagonal
    assert found.forward_transfer == pytest.approx(((0.2 - 0.1) + (0.4 - 0.5)) / 2)
    assert found.tasks == 3
    assert set(found.flat("cl")) == {
        "cl_average_accuracy",
        "cl_backward_transfer",
        "cl_forgetting",
        "cl_forward_transfer",
    }
    assert "cl_forward_transfer" not in measures.transfer(LEARNED).flat("cl")


@pytest.mark.parametrize("tasks", [2, 5])
def test_the_definitions_read_with_loops(tasks: int) -> None:
    matrix = torch.rand(tasks, tasks, generator=torch.Generator().manual_seed(tasks), dtype=torch.float64)
    a, last = matrix.tolist(), tasks - 1
    assert measures.backward_transfer(matrix) == pytest.approx(fmean(a[last][i] - a[i][i] for i in range(last)))
    best = [max(a[t][i] for t in range(last)) for i in range(last)]
    assert measures.forgetting(matrix) == pytest.approx(fmean(best[i] - a[last][i] for i in range(last)))
    assert measures.forward_transfer(matrix, torch.zeros(tasks)) == pytest.approx(
        fmean(a[i - 1][i] for i in range(1, tasks))
    )


def test_what_was_not_measured_before_a_task_is_not_needed() -> None:
    lower = LEARNED.masked_fill(torch.ones(3, 3).triu(1).bool(), NAN)
    assert measures.forgetting(lower) == pytest.approx(measures.forgetting(LEARNED))
    assert measures.backward_transfer(lower) == measures.backward_transfer(LEARNED)
    with pytest.raises(ValueError, match="task 1 was not measured before it was learned"):
        measures.forward_transfer(lower, ZERO_SHOT)


def test_harmonic_mean() -> None:
    assert measures.harmonic_mean(82.28, 75.14) == pytest.approx(harmonic_mean([82.28, 75.14]))
    assert measures.harmonic_mean(0.0, 0.0) == measures.harmonic_mean(1.0, 0.0) == 0.0
    with pytest.raises(ValueError, match="neither may be below 0"):
        measures.harmonic_mean(-0.1, 0.5)
    with pytest.raises(ValueError, match="accuracies are nan"):
        measures.harmonic_mean(NAN, 0.5)


def test_what_makes_no_sense_is_refused() -> None:
    assert measures.average_accuracy(torch.tensor([[0.5]])) == 0.5
    with pytest.raises(ValueError, match=r"2 or more tasks, not \(1, 1\)"):
        measures.forgetting(torch.tensor([[0.5]]))
    with pytest.raises(ValueError, match=r"not \(2, 3\)"):
        measures.transfer(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="task 0 has no accuracy after task 1"):
        measures.backward_transfer(torch.tensor([[0.5, 0.1], [NAN, 0.2]]))
    with pytest.raises(ValueError, match="a baseline for each of 3 tasks"):
        measures.forward_transfer(LEARNED, torch.zeros(2))
