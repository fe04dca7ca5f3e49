"""A trained model as the teacher: it says its own embeddings of the student's batches, and never changes.

Use it to make a large model's knowledge a small one's (distillation), or to keep a model near what it was
while it learns something else. It reads the batch's inputs, so it needs the student's processors: a new
student takes them over with `share_processors`. A teacher with other processors needs inputs of its own, in
a view of their own: `Frozen(model, views={"image": "image@teacher"})`.

Source: Hinton et al. 2015, arXiv 1503.02531; for CLIP: Yang et al. 2023, arXiv 2307.12732.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.configuration import describe
from diptych.core.model import Model, Processor, is_frozen
from diptych.core.pairing import Pairing
from diptych.core.teacher import Teacher
from diptych.models.checkpoint import load
from diptych.models.opened import open_run
from diptych.models.stored import weights_hash
from diptych.training.optimizer import is_sharded
from diptych.training.teachers.encoding import encode_views


class Frozen(Teacher):
    """A model that is not trained.

    Args:
        model: the teacher.
        views: view that is asked of it -> view of the batch that it reads; others it reads under their own name.
            A view listed here is taken to be made by the teacher's own processor.
    """

    def __init__(self, model: Model, *, views: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.views = dict(views or {})
        heads = self.model.heads.items()
        self.tokens = tuple(name for name, own in heads if "tokens" in own and name not in self.views)  # type: ignore[operator]
        self._other: dict[str, str] = {}
        self._same_towers: set[str] = set()

    @classmethod
    def open(cls, folder: str | Path, *, views: Mapping[str, str] | None = None) -> Self:
        """The model of a run or of a checkpoint's folder.

        Raises:
            diptych.models.checkpoint.CheckpointError: if there is none, or it is damaged.
        """
        return cls(load(open_run(folder)), views=views)

    def begin(self, model: Model) -> None:
        """Compare the student's processors and towers with its own, and go where the student is."""
        self.to(next(model.parameters()).device)
        self._other, self._same_towers = {}, set()
        for name, own in self.model.processors.items():
            other = differences(own, model.processors.get(name))
            if other:
                self._other[name] = other
        for name, tower in self.model.towers.items():
            if name in model.towers and _is_the_same(tower, model.towers[name]):
                self._same_towers.add(name)

    def forward(self, batch: Batch, views: frozenset[str]) -> Pairing:
        """Its embeddings.

        Raises:
            ValueError: if a view holds what the student's processor or frozen tower made and the teacher's would not.
        """
        for view in sorted(views - set(self.views)):
            tower = self.model.route(view).tower
            if tower in self._other:
                raise ValueError(
                    f"teacher and student have other {tower} processors ({self._other[tower]}), so the teacher cannot "
                    f"read the student's view {view!r}: train the student with the teacher's processors, or give the "
                    f"teacher a view of its own, Frozen(model, views={{{view!r}: {view.split('@')[0] + '@teacher'!r}}})"
                )
            if "pooled" in batch.inputs.get(view, {}) and tower not in self._same_towers:
                raise ValueError(
                    f"the view {view!r} holds stored features of the student's frozen {tower} tower, which are not the "
                    f"teacher's: do not freeze it, or give the teacher a view of its own"
                )
        return encode_views(self.model, batch, {view: self.views.get(view, view) for view in sorted(views)})

    def kept_state(self) -> dict[str, Tensor]:
        """Nothing: the checkpoint has it all."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to do."""


def share_processors(student: Model, teacher: Model) -> None:
    """Give a student that has not been trained its teacher's processors, so that both read the same inputs.

    Raises:
        ValueError: if the student's towers were made for other inputs; the message says what to change.
    """
    for name, own in student.processors.items():
        other = differences(teacher.processors.get(name), own, unfitted=True)
        if other:
            raise ValueError(
                f"teacher and student have other {name} processors ({other}): give the student the teacher's values"
            )
    student.processors = {name: teacher.processors[name] for name in student.processors}


def differences(teacher: Processor | None, student: Processor | None, *, unfitted: bool = False) -> str:
    """In what two processors differ, in words; "" where they are alike.

    Args:
        teacher, student: the processors, "there" and "here".
        unfitted: pass over what the student's has not learned yet (its vocabulary).
    """
    if teacher is None or student is None:
        return "none there" if teacher is None else "none here"
    there, here = describe(teacher), describe(student)
    if there["class"] != here["class"]:
        return f"{there['class'].split(':')[1]} there, {here['class'].split(':')[1]} here"
    before, now = there["arguments"], here["arguments"]
    names = [name for name in now if before[name] != now[name]]
    return ", ".join(_in_words(name, before[name], now[name]) for name in names if not (unfitted and now[name] is None))


def _in_words(name: str, there: Any, here: Any) -> str:
    short = len(f"{there}{here}") < 80  # a vocabulary is not for reading
    return f"{name}: {there!r} there, {here!r} here" if short else f"another {name}"


def _is_the_same(tower: nn.Module, student: nn.Module) -> bool:
    """Whether the student's tower is frozen and is the teacher's; of a sharded one nobody asks."""
    if not is_frozen(student) or any(is_sharded(parameter) for parameter in student.parameters()):
        return False
    return describe(tower) == describe(student) and weights_hash(tower) == weights_hash(student)
