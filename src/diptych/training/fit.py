"""The training loop, in plain sight: batches, step, clip, update, log, save.

A run is a folder:

    model/          the checkpoint, written at the end
    state/          what is needed to go on: weights, optimizer, position; written every few minutes and on Ctrl-C
    log.jsonl       one line a step

What a step does depends on (seed, phase, epoch, batch number) and the state alone, so a resumed run
takes the same batches and has the same losses as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.model import Model, is_frozen
from diptych.data.pairs import Pairs
from diptych.data.views import Processed
from diptych.training.interrupt import Interrupted, stop_requested
from diptych.training.journal import Journal
from diptych.training.recipe import Phase, Recipe
from diptych.training.sampler import Epoch
from diptych.training.state import Position, load_state, save_state
from diptych.training.step import step

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """What the loop tells after every step."""

    step: int
    steps: int
    loss: float
    pairs_per_second: float


@dataclass(frozen=True)
class Fitted:
    """What training came to: steps, seconds of all sessions, pairs (images) seen a second, loss by step."""

    steps: int
    seconds: float
    pairs_per_second: float
    losses: list[tuple[int, float]] = field(default_factory=list)


def fit(
    recipe: Recipe,
    pairs: Pairs,
    out: Path,
    *,
    seed: int = 0,
    save_minutes: float = 5.0,
    resume: bool = False,
    tensorboard: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Fitted:
    """Train `recipe.model` in place.

    Args:
        recipe: its phases are trained in order.
        pairs: the training rows; views of frozen towers may hold stored features.
        out: the run's folder, for state and log.
        seed: of everything random.
        save_minutes: how often the state is saved.
        resume: go on from the saved state, if there is one.
        tensorboard: also write TensorBoard events.
        progress: called after every step.

    Raises:
        Interrupted: after Ctrl-C (or SIGTERM), once the state is saved.
        FloatingPointError: if the loss or its gradient is not finite; the message says at which step.
        ValueError: if a part is missing that an objective needs, or nothing is trained.
        diptych.models.checkpoint.CheckpointError: if the saved state is damaged.
        RuntimeError: if it is started in several processes; `step` takes them, the run does not yet.
    """
    out.mkdir(parents=True, exist_ok=True)
    plans = [_plan(i, phase, recipe.model, pairs, seed) for i, phase in enumerate(recipe.phases)]
    steps = sum(plan.steps for plan in plans)
    position = Position()
    saved = load_state(out / "state") if resume else None
    if saved is not None:
        position = saved.position
        recipe.model.load_state_dict(saved.model)
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise RuntimeError("runs over several processes are not built yet (the step is): start one process")
    recipe.model.to(accelerator.device)
    free = {name for name, parameter in recipe.model.named_parameters() if parameter.requires_grad}
    journal = Journal(out, position.step, tensorboard=tensorboard)
    try:
        for plan in plans[position.phase :]:
            plan.phase.objective.to(accelerator.device)
            train_only(recipe.model, {n for n in free if any(fnmatch(n, each) for each in plan.phase.trainable)})
            optimizer = optimizer_for(recipe.model, plan.phase)
            if saved is not None:
                saved.restore(plan.phase.objective, optimizer)
                saved = None
            run = Run(recipe.model, optimizer, accelerator, out, steps, journal, save_minutes, progress)
            position = replace(_run(plan, run, position), phase=plan.number + 1, epoch=0, batch=0)
    finally:
        journal.close()
        train_only(recipe.model, free)
    recipe.model.eval()
    return Fitted(position.step, position.seconds, position.pairs / max(position.seconds, 1e-9), journal.losses())


@dataclass(frozen=True)
class Plan:
    """A phase, with all that is known of it before it runs."""

    number: int
    phase: Phase
    pairs: Pairs
    seed: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.phase.schedule.epochs

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch."""
        schedule, pairs = self.phase.schedule, self.pairs
        lengths = getattr(pairs.views["text"], "lengths", None)
        if lengths is not None:
            lengths = np.add.reduceat(lengths, pairs.keys.offsets[:-1]) / np.diff(pairs.keys.offsets)
        known = Epoch(len(pairs), epoch, schedule.epochs, (self.seed, self.number, epoch), lengths)
        return self.phase.sampler(known, schedule.batch_size)

    def batch(self, rows: np.ndarray, epoch: int, number: int, rank: int, size: int) -> Batch:
        """The batch of this process: a pure function of its arguments and the plan."""
        random = np.random.default_rng([self.seed, self.number, epoch, 2 + number])
        texts = self.pairs.choose(rows, texts_per_image=self.phase.schedule.texts_per_image, random=random)
        mine = rows[rank::size]
        batch = self.pairs.batch(mine, texts[np.isin(self.pairs.keys.owner[texts], mine)] if size > 1 else texts)
        generator = torch.Generator().manual_seed(int(random.integers(1 << 62)) + rank)
        for transform in self.phase.transforms:
            batch = transform(batch, generator)
        return batch


@dataclass(frozen=True)
class Run:
    """What stays the same from step to step: what is trained, by what, and who is told."""

    model: Model
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    out: Path
    steps: int
    journal: Journal
    save_minutes: float
    progress: Callable[[Progress], None]


def _plan(number: int, phase: Phase, model: Model, pairs: Pairs, seed: int) -> Plan:
    missing = sorted(phase.objective.needs.parts - set(model.parts))
    if missing:
        raise ValueError(f"phase {number} needs the parts {missing}; the model has {sorted(model.parts)}")
    plan = Plan(number, phase, pairs, seed, 0)
    return replace(plan, steps_per_epoch=len(plan.epoch(0)))


def _run(plan: Plan, run: Run, position: Position) -> Position:
    """Train one phase from `position` to its end."""
    autocast = autocast_for(run.accelerator.device, plan.phase.schedule.precision)
    _train_mode(run.model, plan.phase)
    clock, saved_at = time.perf_counter(), time.monotonic()
    with stop_requested() as stop:
        for epoch, number, rows, batch in _batches(plan, position, run.accelerator):
            done = epoch * plan.steps_per_epoch + number
            means = _update(plan, run, batch, position.step, done, autocast)
            now = time.perf_counter()
            position = position.after(epoch, number, pairs=rows, seconds=now - clock)
            speed = rows / (now - clock)
            run.journal.write(position, {**means, "pairs_per_second": speed})
            run.progress(Progress(position.step, run.steps, means["loss"], speed))
            stopping = stop()
            if stopping or time.monotonic() - saved_at > 60 * run.save_minutes:
                save_state(run.out / "state", run.model, plan.phase.objective, run.optimizer, position)
                saved_at = time.monotonic()
            if stopping:
                raise Interrupted(
                    f"stopped after step {position.step} of {run.steps}; the state is in {run.out / 'state'}"
                )
            clock = time.perf_counter()
    save_state(run.out / "state", run.model, plan.phase.objective, run.optimizer, position)
    return position


def _batches(plan: Plan, position: Position, accelerator: Accelerator) -> Iterator[tuple[int, int, int, Batch]]:
    """(epoch, batch number, rows of all processes, this process's batch) from `position` to the phase's end."""
    rank, size = accelerator.process_index, accelerator.num_processes
    # Stored views are cut in no time, and a second thread would fight the step for its cores; decoding is worth one.
    threads = 2 if any(isinstance(view, Processed) for view in plan.pairs.views.values()) else 0
    for epoch in range(position.epoch, plan.phase.schedule.epochs):
        rows = plan.epoch(epoch)
        first = position.batch if epoch == position.epoch else 0
        make = [partial(plan.batch, rows[k], epoch, k, rank, size) for k in range(first, len(rows))]
        for number, batch in zip(range(first, len(rows)), ahead(make, threads=threads), strict=True):
            yield epoch, number, len(rows[number]), batch.to(accelerator.device)


def _update(
    plan: Plan, run: Run, batch: Batch, at: int, done: int, autocast: Callable[[], AbstractContextManager]
) -> dict[str, float]:
    """One optimizer step; the numbers to log."""
    schedule, objective, optimizer = plan.phase.schedule, plan.phase.objective, run.optimizer
    seed = _mixed_seed(plan.seed, plan.number, done)
    torch.manual_seed(seed)
    factor = warmup_cosine(done, plan.steps, schedule.warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    optimizer.zero_grad(set_to_none=True)
    cuts = {"micro": schedule.micro, "rows": schedule.rows}
    stepped = step(run.model, objective, batch, seed=seed, autocast=autocast, **cuts)
    if not math.isfinite(stepped.means["loss"]):
        raise FloatingPointError(
            f"the loss is {stepped.means['loss']} at step {at + 1}: lower --lr, raise --warmup, --precision float32"
        )
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.clip_grad_norm_(trained, schedule.grad_clip)
    if not math.isfinite(float(norm)):
        raise FloatingPointError(f"the gradient is {float(norm)} at step {at + 1}: lower --lr or raise --warmup")
    optimizer.step()
    objective.update(stepped.pairing)
    return {**stepped.means, "lr": schedule.lr * factor, "gradient_norm": float(norm)}


def ahead(make: Sequence[Callable[[], T]], *, threads: int) -> Iterator[T]:
    """The results of `make`, in order, each begun `threads` before it is wanted; 0 makes them when wanted."""
    if not threads:
        yield from (one() for one in make)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(one) for one in make[:threads]]
        try:
            for i in range(len(make)):
                result = waiting.pop(0).result()
                if i + threads < len(make):
                    waiting.append(pool.submit(make[i + threads]))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def train_only(model: Model, names: Collection[str]) -> None:
    """Let gradients be taken for the parameters of these names, and for no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def optimizer_for(model: Model, phase: Phase) -> torch.optim.Optimizer:
    """AdamW over what the phase trains: matrices decay, the rest does not; towers have their own rate.

    Raises:
        ValueError: if nothing is trained.
    """
    schedule = phase.schedule
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in [*model.named_parameters(), *phase.objective.named_parameters(prefix="objective")]:
        if parameter.requires_grad:
            groups.setdefault((name.startswith("towers."), parameter.dim() >= 2), []).append(parameter)
    if not groups:
        raise ValueError(f"nothing is trained: no parameter that is not frozen matches {list(phase.trainable)}")
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak": schedule.lr * (schedule.tower_lr_scale if in_tower else 1.0),
                "weight_decay": schedule.weight_decay if decays else 0.0,
            }
            for (in_tower, decays), parameters in groups.items()
        ],
        lr=schedule.lr,
        betas=(0.9, schedule.beta2),
        fused=True,
    )


def warmup_cosine(done: int, steps: int, warmup: float) -> float:
    """The learning rate's factor at step `done` of `steps`: a line up over the first `warmup` share, a cosine to 0."""
    up = max(1, round(warmup * steps))
    if done < up:
        return (done + 1) / up
    return 0.5 * (1 + math.cos(math.pi * (done - up) / max(1, steps - up)))


def autocast_for(device: torch.device, precision: str) -> Callable[[], AbstractContextManager]:
    """A context for the towers' forward: bf16 as asked, or, for "auto", where the device multiplies it fast."""
    wanted = precision == "bf16"
    if precision == "auto":
        has_tiles = bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
        wanted = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else has_tiles
    return partial(torch.autocast, device.type, torch.bfloat16) if wanted else nullcontext


def _train_mode(model: Model, phase: Phase) -> None:
    """Training mode for what is trained; frozen towers stay in eval mode.

    Batch norms keep their statistics fixed (their scale and bias are trained): statistics of a batch would make
    an objective's rows depend on how the batch is cut.
    """
    model.train()
    for tower in model.towers.values():
        if is_frozen(tower):
            tower.eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    phase.objective.train()


def _mixed_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
