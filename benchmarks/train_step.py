"""A training step of CLIP ViT-B/32, ours beside open_clip's: same weights, same pictures, same captions.

    python benchmarks/train_step.py

Both take the same steps in turns: forward, backward and AdamW, of open_clip's random weights, on photographs and
captions of Flickr8k. Open_clip has its inputs as its own training script makes them (normalised floats, texts padded
to 77 tokens), its loss, its parameter groups, and of its precisions and optimizers the fastest that keeps float32
weights: `amp_bf16`, with `fused=True`, which that script does not set. Ours has bytes and the same token ids without
the padding, and steps by `diptych.training.step`. Every step has a new batch.

On a GPU the batch is larger, for such is the training there.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from diptych.core.batch import Batch
from diptych.core.model import Model
from diptych.data.processors import ImageProcessor
from diptych.data.sources import open_table
from diptych.models.opening.native_clip import MEAN, STD, clip_from_weights
from diptych.objectives.infonce import InfoNCE
from diptych.scoring.dot import Dot
from diptych.training.fit import autocast_for
from diptych.training.step import step
from harness import DATA, Figure, arguments, figure, finish, in_turns, medians, peak_memory

NAME = "ViT-B-32"
END = 49407  # the token that ends a text


@dataclass(frozen=True)
class Inputs:
    """One batch: `pixels` `[N, 3, 224, 224]` uint8 and `ids` `[N, 77]`, zeros after each text's end."""

    pixels: Tensor
    ids: Tensor

    def ours(self) -> Batch:
        """Bytes, and the ids up to the longest text."""
        lengths = (self.ids == END).int().argmax(1) + 1
        longest = int(lengths.max())
        mask = torch.arange(longest, device=self.ids.device)[None] < lengths[:, None]
        rows = torch.arange(len(self.ids), device=self.ids.device)
        inputs = {"image": {"pixels": self.pixels}, "text": {"ids": self.ids[:, :longest], "mask": mask}}
        return Batch(inputs, dict.fromkeys(inputs, rows[:, None]), dict.fromkeys(inputs, rows))

    def theirs(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Normalised floats, and the ids as they are."""
        mean, std = (torch.tensor(x, device=self.pixels.device).view(1, 3, 1, 1) for x in (MEAN, STD))
        return ((self.pixels / 255 - mean) / std).to(dtype), self.ids


def inputs_of_flickr8k(batch: int, count: int, device: str) -> list[Inputs]:
    """Batches of training photographs, each with one of its captions."""
    if not (DATA / "flickr8k").exists():
        sys.exit(f"{DATA / 'flickr8k'} is missing: this benchmark wants real photographs and captions")
    table = open_table(DATA / "flickr8k").filter(lambda split: split == "train", input_columns="split")
    rows = np.random.default_rng(0).permutation(len(table))[: batch * count]
    processor, tokenizer = ImageProcessor(224), open_clip.get_tokenizer(NAME)
    out = []
    for start in range(0, len(rows) - batch + 1, batch):
        cut = table[rows[start : start + batch]]
        captions = [texts[i % len(texts)] for i, texts in enumerate(cut["text"])]
        out.append(Inputs(processor(cut["image"])["pixels"].to(device), tokenizer(captions).to(device)))
    return out


def adamw(model: nn.Module, lr: float) -> torch.optim.AdamW:
    """As open_clip's training script sets it for a ViT: gains, biases and the scale do not decay."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in model.parameters():
        groups[parameter.dim() >= 2].append(parameter)
    settings = [{"params": groups[True], "weight_decay": 0.2}, {"params": groups[False], "weight_decay": 0.0}]
    return torch.optim.AdamW(settings, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True)


class Ours:
    """Our step; calling it takes the next batch."""

    def __init__(self, model: Model, batches: Sequence[Batch], lr: float, device: str) -> None:
        self.model, self.batches, self.losses = model.to(device).train(), batches, list[float]()
        self.optimizer, self.objective = adamw(model, lr), InfoNCE()
        self.autocast = autocast_for(torch.device(device), "bf16")

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        batch = self.batches[len(self.losses) % len(self.batches)]
        self.losses.append(step(self.model, self.objective, batch, autocast=self.autocast).means["loss"])
        self.optimizer.step()
        settle()


class Theirs:
    """Open_clip's step, as its `train_one_epoch` takes it; calling it takes the next batch."""

    def __init__(self, model: nn.Module, batches: Sequence[Inputs], lr: float, device: str, precision: str) -> None:
        dtype = torch.bfloat16 if precision == "pure_bf16" else torch.float32
        self.model, self.losses = model.to(device=device, dtype=dtype).train(), list[float]()
        self.batches = [one.theirs(dtype) for one in batches]
        self.optimizer, self.loss = adamw(model, lr), ClipLoss()
        bf16: Callable[[], AbstractContextManager] = partial(torch.autocast, device, torch.bfloat16)
        self.autocast = bf16 if precision == "amp_bf16" else nullcontext

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        images, texts = self.batches[len(self.losses) % len(self.batches)]
        with self.autocast():
            loss = self.loss(**self.model(images, texts), output_dict=True)["contrastive_loss"]
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))  # type: ignore[union-attr, operator]
        self.losses.append(loss.item())
        settle()


def settle() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak(run: Ours | Theirs) -> float:
    """Bytes that a step holds at most beyond weights and moments."""
    run.optimizer.zero_grad()
    if not torch.cuda.is_available():
        return peak_memory(run)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch, bar = (1024, ">= 1.3") if device == "cuda" else (64, ">= 2.5")
    args = arguments(
        "A training step beside open_clip's.", batch=batch, steps=20, lr=5e-5, seconds=330.0, pure_bf16=True
    )
    torch.manual_seed(0)
    inputs = inputs_of_flickr8k(args.batch, args.steps, device)
    peer = open_clip.create_model(NAME, output_dict=True)
    weights = {name: weight.clone() for name, weight in peer.state_dict().items()}
    ours = Ours(clip_from_weights(weights, parts={"dot": Dot()}), [one.ours() for one in inputs], args.lr, device)
    theirs = Theirs(peer, inputs, args.lr, device, "amp_bf16")
    took = medians(in_turns({"ours": ours, "peer": theirs}, rounds=args.steps - 2, warmup=2, seconds=args.seconds))
    pairs = {name: args.batch / seconds for name, seconds in took.items()}
    figures = [figure(f"pairs/s, batch {args.batch}", pairs["ours"], pairs["peer"], bar=bar), losses(ours, theirs)]
    memory = peak(ours) / 2**20, peak(theirs) / 2**20
    figures.append(figure("peak of a step, MiB", *memory))
    if args.pure_bf16:
        figures.append(against_pure_bf16(pairs["ours"], weights, inputs[:4], args.lr, device))
    finish(figures, pairs["ours"] / pairs["peer"], args.json, ["open_clip_torch"])


def losses(ours: Ours, theirs: Theirs) -> Figure:
    """The largest difference of the losses of any step, which are the same but for rounding to bf16.

    The bar: open_clip's own losses in `amp_bf16` and in `fp32` are up to 0.02 apart over such 20 steps.
    """
    print("losses:", *(f"{a:.3f}/{b:.3f}" for a, b in zip(ours.losses, theirs.losses, strict=True)))
    worst = max(abs(a - b) for a, b in zip(ours.losses, theirs.losses, strict=True))
    return figure(f"loss, most it differs in {len(ours.losses)} steps", worst, None, bar="<= 0.02", value=worst)


def against_pure_bf16(
    ours: float, weights: dict[str, Tensor], inputs: Sequence[Inputs], lr: float, device: str
) -> Figure:
    """Beside open_clip's `pure_bf16`, which keeps the weights themselves in bf16 and so loses small updates."""
    model = open_clip.create_model(NAME, output_dict=True, precision="pure_bf16")
    model.load_state_dict(weights)
    run = Theirs(model, inputs, lr, device, "pure_bf16")
    took = medians(in_turns({"peer": run}, rounds=3, warmup=1))["peer"]
    return figure("pairs/s, peer in pure_bf16", ours, len(inputs[0].ids) / took)


if __name__ == "__main__":
    main()
