"""What learning one task did to others: base and novel classes, forgetting, and transfer backward and forward.

Of accuracies a[t, i], on task i after learning tasks 0 to t (the last row is the final model):

    average accuracy  = mean over i of a[T-1, i]
    backward transfer = mean over i < T-1 of a[T-1, i] - a[i, i]
    forgetting        = mean over i < T-1 of max over l < T-1 of a[l, i] - a[T-1, i]
    forward transfer  = mean over i > 0 of a[i-1, i] - b[i],      b the accuracy of a model that learned none
    harmonic mean     = 2 base novel / (base + novel)

Backward transfer is below 0 where old tasks got worse; forgetting is above 0 there, and counts from the best a task
ever was, so the two differ where a later task helped. Any measure of which more is better does for an accuracy, such as
recall of retrieval.

Use them for a model that learns one collection after another, and the harmonic mean for prompts and adapters that
were tuned on some of the classes: a method that gives up the novel ones for the base ones cannot hide it there. For a
pretrained model take its zero-shot accuracies as `b`.

Sources: Lopez-Paz & Ranzato 2017, arXiv 1706.08840 (transfer); Chaudhry et al. 2018, arXiv 1801.10112 (forgetting);
the harmonic mean of base and novel, Xian et al. 2017, arXiv 1707.00600, and Zhou et al. 2022, arXiv 2203.05557.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Transfer:
    """What learning T tasks one after another came to.

    Attributes:
        average_accuracy: over all tasks at the end, 0 to 1.
        backward_transfer: -1 to 1.
        forgetting: -1 to 1; lower is better.
        forward_transfer: -1 to 1; None where no baseline was given.
        tasks: T.
    """

    average_accuracy: float
    backward_transfer: float
    forgetting: float
    forward_transfer: float | None
    tasks: int

    def flat(self, prefix: str) -> dict[str, float]:
        """The measures in one line for a log: `{"cl_forgetting": 0.1, ...}` for the prefix `"cl"`."""
        line = {
            f"{prefix}_average_accuracy": self.average_accuracy,
            f"{prefix}_backward_transfer": self.backward_transfer,
            f"{prefix}_forgetting": self.forgetting,
        }
        return line if self.forward_transfer is None else {**line, f"{prefix}_forward_transfer": self.forward_transfer}


def harmonic_mean(base: float, novel: float) -> float:
    """The harmonic mean of accuracy on base and novel classes, 0 to 1 (or both in percent, 0 to 100); 0 if one is 0.

    Raises:
        ValueError: if one is negative or NaN.

    Example:
        >>> harmonic_mean(0.8, 0.4)
        0.5333333333333333
    """
    if not (base >= 0 and novel >= 0):
        raise ValueError(f"accuracies are {base} and {novel}; neither may be below 0")
    return 2 * base * novel / (base + novel) if base + novel else 0.0


def average_accuracy(accuracy: Tensor) -> float:
    """The mean accuracy on all tasks after the last, from `[T, T]`.

    Raises:
        ValueError: if the matrix is not square, or one of its last row is NaN.

    Example:
        >>> average_accuracy(torch.tensor([[0.9, 0.1], [0.7, 0.8]]).double())
        0.75
    """
    return _square(accuracy, tasks=1)[-1].mean().item()


def backward_transfer(accuracy: Tensor) -> float:
    """How much tasks gained since each was learned, on average, -1 to 1.

    Args:
        accuracy: `[T, T]`, task i after learning tasks 0 to t. What stands above the diagonal is not read.

    Raises:
        ValueError: if the matrix is not square, has fewer than 2 tasks, or one that is read is NaN.

    Example:
        >>> round(backward_transfer(torch.tensor([[0.9, 0.1], [0.7, 0.8]])), 4)
        -0.2
    """
    a = _square(accuracy, tasks=2)
    return (a[-1, :-1] - a.diagonal()[:-1]).mean().item()


def forgetting(accuracy: Tensor) -> float:
    """How much tasks lost since each was at its best before the last one was learned, on average, -1 to 1.

    Args:
        accuracy: `[T, T]`, task i after learning tasks 0 to t. Entries above the diagonal (a task not learned yet) count
            too, unless they are NaN, as where they were not measured.

    Raises:
        ValueError: if the matrix is not square, has fewer than 2 tasks, or is NaN on or below the diagonal.

    Example:
        >>> round(forgetting(torch.tensor([[0.9, 0.1], [0.7, 0.8]])), 4)
        0.2
    """
    a = _square(accuracy, tasks=2)
    return (a[:-1, :-1].nan_to_num(-torch.inf).amax(0) - a[-1, :-1]).mean().item()


def forward_transfer(accuracy: Tensor, baseline: Tensor) -> float:
    """How much better tasks are done just before they are learned than by a model that learned none, -1 to 1.

    Args:
        accuracy: `[T, T]`, task i after learning tasks 0 to t, measured above the diagonal.
        baseline: `[T]`, each task before any was learned.

    Raises:
        ValueError: if shapes do not fit, there are fewer than 2 tasks, or one that is read is NaN.

    Example:
        >>> round(forward_transfer(torch.tensor([[0.9, 0.3], [0.7, 0.8]]), torch.tensor([0.1, 0.1])), 4)
        0.2
    """
    a = _square(accuracy, tasks=2)
    if baseline.shape != a.shape[:1]:
        raise ValueError(f"expected a baseline for each of {len(a)} tasks, not {tuple(baseline.shape)}")
    gained = a.diagonal(1) - baseline.double().to(a.device)[1:]
    if gained.isnan().any():
        task = int(gained.isnan().nonzero()[0, 0]) + 1
        raise ValueError(f"task {task} was not measured before it was learned, or has no baseline: one of them is NaN")
    return gained.mean().item()


def transfer(accuracy: Tensor, baseline: Tensor | None = None) -> Transfer:
    """All measures of learning T tasks one after another.

    Args:
        accuracy: `[T, T]`, task i (column) after learning tasks 0 to t (row); NaN above the diagonal where unmeasured.
        baseline: `[T]`, each task before any was learned; None if it was not measured.

    Raises:
        ValueError: as the functions it calls.

    Example:
        >>> found = transfer(torch.tensor([[0.9, 0.1], [0.7, 0.8]]))
        >>> round(found.average_accuracy, 4), round(found.forgetting, 4), found.forward_transfer
        (0.75, 0.2, None)
    """
    return Transfer(
        average_accuracy=average_accuracy(accuracy),
        backward_transfer=backward_transfer(accuracy),
        forgetting=forgetting(accuracy),
        forward_transfer=None if baseline is None else forward_transfer(accuracy, baseline),
        tasks=len(accuracy),
    )


def _square(accuracy: Tensor, *, tasks: int) -> Tensor:
    """The matrix as float64, if it is one of at least that many tasks and whole on and below its diagonal."""
    if accuracy.dim() != 2 or accuracy.shape[0] != accuracy.shape[1] or len(accuracy) < tasks:
        raise ValueError(f"expected accuracies [T, T] of {tasks} or more tasks, not {tuple(accuracy.shape)}")
    lacking = accuracy.isnan().tril()
    if lacking.any():
        after, task = lacking.nonzero()[0].tolist()
        raise ValueError(f"task {task} has no accuracy after task {after} was learned (NaN); measure it")
    return accuracy.double()
