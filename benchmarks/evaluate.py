"""Recall both ways on ready embeddings, beside clip_benchmark's: seconds, and memory beyond the embeddings.

    python benchmarks/evaluate.py --json evaluate.json                       # 5,000 images x 25,000 captions
    python benchmarks/evaluate.py --images 200 --rounds 1                    # a quick look: are the numbers the same?

The peer is `clip_benchmark.metrics.zeroshot_retrieval.evaluate`, unchanged, given a model whose towers hand over ready
vectors, in batches of 64. Ours is `diptych.evaluation.retrieval.both_ways`, which finds ranks, MRR and mAP besides.
Vectors are unit vectors of images in clusters, and of captions near their image. Each run has a process of its own;
recall at 1, 5 and 10 must be equal, or nothing is reported. The peer's figures hold its loop over batches too, which
takes less than a hundredth of them.

Bars: ours at least five times as fast; our memory the same with a gallery half as large.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Embedding
from diptych.evaluation.retrieval import both_ways
from diptych.scoring import Dot
from harness import Figure, arguments, figure, finish, medians, peak_memory, return_freed_memory

KS = (1, 5, 10)
BATCH = 64


class Collection:
    """Vectors of N images and of `texts` captions of each."""

    def __init__(self, images: int, texts: int, width: int) -> None:
        generator = torch.Generator().manual_seed(0)
        clusters = torch.randn(max(images // 20, 1), width, generator=generator)
        own = clusters[torch.arange(images) % len(clusters)]
        self.image = F.normalize(own + 0.7 * torch.randn(images, width, generator=generator), dim=1)
        self.owner = torch.arange(images).repeat_interleave(texts)
        noise = torch.randn(images * texts, width, generator=generator)
        self.text = F.normalize(self.image[self.owner] + 4 * noise / width**0.5, dim=1)
        self.texts = texts

    def ours(self) -> dict[str, float]:
        """Recall by our own."""
        keys = torch.arange(len(self.image))[:, None]
        reports = both_ways(
            Embedding({"dense": self.image}), Embedding({"dense": self.text}), keys, keys[self.owner], Dot(1.0), ks=KS
        )
        return {
            **{f"image_retrieval_recall@{k}": reports["text_to_image"].recall[k] for k in KS},
            **{f"text_retrieval_recall@{k}": reports["image_to_text"].recall[k] for k in KS},
        }

    def peer(self) -> dict[str, float]:
        """Recall by clip_benchmark."""
        from clip_benchmark.metrics import zeroshot_retrieval

        found = zeroshot_retrieval.evaluate(_Ready(), list(self.batches()), self.tokens, "cpu", False, list(KS))  # type: ignore[arg-type]
        return {name: float(value) for name, value in found.items()}

    def batches(self) -> Iterator[tuple[Tensor, list[list[int]]]]:
        """(images, the numbers of each image's captions), as a loader gives images and captions."""
        numbers = torch.arange(len(self.text)).view(-1, self.texts)
        for image, captions in zip(self.image.split(BATCH), numbers.split(BATCH), strict=True):
            yield image, captions.tolist()

    def tokens(self, captions: list[int]) -> Tensor:
        """The vectors of captions, in the place of tokens."""
        return self.text[torch.tensor(captions)]


class _Ready(torch.nn.Module):
    """A model whose inputs are its vectors already."""

    def encode_image(self, images: Tensor) -> Tensor:
        return images

    def encode_text(self, texts: Tensor) -> Tensor:
        return texts


def one_run(contestant: str, what: str, images: int, texts: int, width: int) -> None:
    """Print seconds or bytes of one run, and its recalls, as JSON: for a process of its own."""
    collection = Collection(images, texts, width)
    run: Callable[[], dict[str, float]] = getattr(collection, contestant)
    if contestant == "peer":
        import clip_benchmark.metrics.zeroshot_retrieval as _  # noqa: F401 (imports are no part of what is measured)
    small = Collection(2 * BATCH, texts, width)
    getattr(small, contestant)()  # what happens once
    found: dict[str, Any] = {}
    if what == "memory":
        return_freed_memory()
        found["value"] = peak_memory(lambda: found.update(recall=run()))
    else:
        began = time.perf_counter()
        found["recall"] = run()
        found["value"] = time.perf_counter() - began
    print(json.dumps(found))


def measured(contestant: str, what: str, images: int, texts: int, width: int) -> tuple[float, dict[str, float]]:
    """Seconds or bytes of a run in a process of its own, and its recalls."""
    words = [sys.executable, __file__, "--run", f"{contestant} {what}"]
    sizes = ["--images", str(images), "--texts", str(texts), "--width", str(width)]
    done = subprocess.run([*words, *sizes], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{contestant} failed: {done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return said["value"], said["recall"]


def check(ours: dict[str, float], peer: dict[str, float]) -> None:
    """Stop unless both found the same."""
    for name, value in peer.items():
        if abs(ours[name] - value) > 1e-6:
            raise SystemExit(f"{name} is {ours[name]} here and {value} there")


def main() -> None:
    args = arguments(__doc__ or "", images=5000, texts=5, width=512, rounds=5, run="")
    if args.run:
        one_run(*args.run.split(), args.images, args.texts, args.width)
        return
    sizes = (args.texts, args.width)
    took: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(args.rounds):
        recalls = {}
        for name, seconds in took.items():
            value, recalls[name] = measured(name, "time", args.images, *sizes)
            seconds.append(value)
        check(recalls["ours"], recalls["peer"])
    best = medians(took)
    figures: list[Figure] = [
        figure("seconds", best["ours"], best["peer"], bar=">= 5", value=best["peer"] / best["ours"]),
    ]
    memory = {name: measured(name, "memory", args.images, *sizes)[0] / 2**20 for name in took}
    half = {name: measured(name, "memory", args.images // 2, *sizes)[0] / 2**20 for name in took}
    figures += [
        figure("MiB beyond embeddings", memory["ours"], memory["peer"]),
        figure("MiB, half the gallery", half["ours"], half["peer"]),
        figure(
            "MiB, whole over half",
            memory["ours"] / half["ours"],
            memory["peer"] / half["peer"],
            bar="<= 1.25",
            value=memory["ours"] / half["ours"],
        ),
    ]
    for name, value in recalls["ours"].items():
        print(f"{name}: {value:.4f}")
    finish(figures, best["peer"] / best["ours"], args.json, ["clip_benchmark"])


if __name__ == "__main__":
    main()
