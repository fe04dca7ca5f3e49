"""A teacher says something of a batch that the student learns from; no gradient goes into it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.model import Model
from diptych.core.pairing import Pairing


class Teacher(nn.Module):
    """Base of every teacher. Like an objective it knows no processes: it sees this process's rows, the step gathers.

    It keeps each constructor argument as an attribute of the same name.

    Attributes:
        pairs: the (anchors' view, other view) whose pairs it scores, for a teacher that only scores pairs.
        columns: of the table or of surveys that it reads, found in `batch.extra` as `"view/column"`.
        tokens: views of which it reads tokens: where their tower is frozen, tokens are stored too.
    """

    pairs: tuple[str, str] | None = None
    columns: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()

    def begin(self, model: Model) -> None:
        """Called once before a phase's first step, with the student: the time to copy it."""

    def forward(self, batch: Batch, views: frozenset[str]) -> Pairing:
        """What it says of `views`.

        Args:
            batch: this process's rows, on the model's device; there may be none.
            views: those that the objective needs of it.

        Returns:
            A pairing without gradients: `rows[view]` is where the batch's rows lie in `all[view]`, first and in
            order; what follows them is remembered from earlier batches and the same on every process. `parts` are
            the teacher's own.
        """
        return Pairing({}, {}, {}, {}, {})

    def candidates(self, pairing: Pairing) -> Tensor:
        """Which pairs to score, for a teacher with `pairs`.

        Args:
            pairing: of the student, with this process's rows as anchors.

        Returns:
            `[n, K]` int64 rows of the other view's `all`, the same whatever the split; -1 pads.
        """
        raise NotImplementedError

    def score(self, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
        """Score row i of one view's inputs against row i of the other's: `[n]`, for a teacher with `pairs`."""
        raise NotImplementedError

    def update(self, model: Model, pairing: Pairing) -> None:
        """Called after every optimizer step, with the student and the whole batch as it was before the step.

        `pairing.teacher` is what this teacher said of it, gathered over processes.
        """

    def kept_state(self) -> dict[str, Tensor]:
        """What must be saved so that an interrupted run goes on exactly; nothing that can be read again elsewhere."""
        return self.state_dict()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `kept_state` gave; called after `begin`."""
        self.load_state_dict(dict(state))
