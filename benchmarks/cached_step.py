"""A step at batch 4,096 in micro-batches of 64, beside plain steps at batch 64: memory, and time for each pair.

The towers are our own small ones at 128 pixels, on noise. Memory is what the process holds at most beyond model,
parameters' gradients and inputs; the embeddings of the 4,096 pairs, their gradients and the scores count. The peer
is our own plain step at batch 64: same towers, 64 times as many steps for as many pairs. Memory is measured twice:
with the C library's heap as it comes, whose fragments differ from run to run, and with freed blocks returned at once.

    python benchmarks/cached_step.py --json figures.json
"""

from __future__ import annotations

import torch

from diptych.core import Batch
from diptych.models import Towers, dual_encoder
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.step import step
from harness import arguments, figure, finish, in_turns, medians, peak_memory, return_freed_memory


def noise(rows: int, tokens: int, towers: Towers) -> Batch:
    """Pictures and texts that mean nothing, one text an image."""
    generator = torch.Generator().manual_seed(0)
    side = towers.image_size
    pixels = torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8, generator=generator)
    ids = torch.randint(0, towers.vocab_size, (rows, tokens), generator=generator)
    inputs = {"image": {"pixels": pixels}, "text": {"ids": ids, "mask": torch.ones_like(ids, dtype=torch.bool)}}
    items = torch.arange(rows)
    return Batch(inputs, dict.fromkeys(inputs, items[:, None]), dict.fromkeys(inputs, items))


def part(batch: Batch, rows: slice) -> Batch:
    """Some rows of both views."""
    inputs = {view: batch.cut(view, rows) for view in batch.views}
    return Batch(inputs, {v: batch.keys[v][rows] for v in batch.views}, {v: batch.items[v][rows] for v in batch.views})


def main() -> None:
    given = arguments("The cached step beside the plain one.", pairs=4096, micro=64, tokens=32, rounds=7)
    torch.manual_seed(0)
    towers, objective = Towers(), InfoNCE()
    model = dual_encoder(towers, parts={"dot": Dot()})
    batch = noise(given.pairs, given.tokens, towers)
    first = part(batch, slice(0, given.micro))

    def plain() -> None:
        for start in range(0, given.pairs, given.micro):
            step(model, objective, part(batch, slice(start, start + given.micro)))

    def cached() -> None:
        step(model, objective, batch, micro=given.micro)

    step(model, objective, first)  # the parameters' gradients are there from now on
    contestants = {"plain": plain, "cached": cached}
    heap = {name: peak_memory(run) / 1e9 for name, run in contestants.items()}
    print("GB", heap, flush=True)
    took = medians(in_turns(contestants, rounds=given.rounds, warmup=0))
    each = {name: seconds / given.pairs * 1000 for name, seconds in took.items()}
    return_freed_memory()
    held = {name: peak_memory(run) / 1e9 for name, run in contestants.items()}
    twice = peak_memory(lambda: step(model, objective, part(batch, slice(0, 2 * given.micro)))) / 1e9
    figures = [
        figure(f"GB of {given.pairs:,} pairs", held["cached"], held["plain"], bar="<= 1.25"),
        figure("  with the heap as it comes", heap["cached"], heap["plain"], bar="<= 1.25"),
        figure(f"GB of a plain step at {2 * given.micro}", twice, held["plain"]),
        figure("ms a pair", each["cached"], each["plain"], bar="<= 1.6"),
    ]
    finish(figures, each["cached"] / each["plain"], given.json)


if __name__ == "__main__":
    main()
