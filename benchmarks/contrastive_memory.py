"""Peak memory and time of contrastive losses, value and gradients, of 1,024 to 32,768 pairs of ready embeddings.

Peers: the formula as open_clip computes it on one process (all scores, a matrix product for each direction, two
cross-entropies) and open_clip's own class where it is installed; the same with one product for both directions;
ours by the plain formula in chunks of rows; open_clip's formula of the sigmoid loss. Memory is what the process
holds at most beyond the embeddings themselves.

    python benchmarks/contrastive_memory.py --json figures.json
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core import Embedding, Objective, Pairing
from diptych.objectives import InfoNCE, Sigmoid
from diptych.scoring import Dot
from harness import Figure, arguments, figure, finish, in_turns, medians, peak_memory

Answer = tuple[float, Tensor, Tensor]
"""The loss, and its gradients for images and for texts."""


class PlainDot(Dot):
    """Scores as `Dot` does; objectives take their plain formula for it, as it is another class."""


class Task:
    """Embeddings of pairs that match somewhat; every contestant gives the loss and the gradients."""

    def __init__(self, n: int, d: int) -> None:
        generator = torch.Generator().manual_seed(0)
        image = F.normalize(torch.randn(n, d, generator=generator), dim=1)
        text = F.normalize(image + torch.randn(n, d, generator=generator) / d**0.5, dim=1)
        self.image, self.text = image.requires_grad_(), text.requires_grad_()
        self.keys = torch.arange(n)[:, None]

    def ours(self, objective: Objective, dot: Dot, *, rows: int | None = None) -> Answer:
        """As `training.step` runs an objective: a backward after every chunk of rows."""
        n = len(self.keys)
        everything = {"image": Embedding({"dense": self.image}), "text": Embedding({"dense": self.text})}
        keys = {"image": self.keys, "text": self.keys}
        size = 2 * n if isinstance(objective, InfoNCE) else n
        total = 0.0
        for start in range(0, n, rows or n):
            cut = slice(start, min(start + (rows or n), n))
            value = objective(Pairing(everything, {"image": cut, "text": cut}, keys, {}, {"dot": dot})) / size
            value.backward()
            total += float(value.detach())
        return self.answer(total)

    def plain(self, *, products: int = 2) -> Answer:
        """All scores, for each direction."""
        scale, labels = torch.tensor(20.0, requires_grad=True), torch.arange(len(self.keys))
        scores = scale * self.image @ self.text.T
        other = scale * self.text @ self.image.T if products == 2 else scores.T
        loss = (F.cross_entropy(scores, labels) + F.cross_entropy(other, labels)) / 2
        loss.backward()
        return self.answer(float(loss.detach()))

    def open_clip(self) -> Answer:
        """open_clip's own class."""
        from open_clip.loss import ClipLoss

        loss = ClipLoss()(self.image, self.text, torch.tensor(20.0, requires_grad=True))
        loss.backward()
        return self.answer(float(loss.detach()))

    def plain_sigmoid(self) -> Answer:
        """All scores, and a matrix of +1 and -1."""
        n = len(self.keys)
        scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)
        scores = scale * self.image @ self.text.T + bias
        loss = -F.logsigmoid((2 * torch.eye(n) - torch.ones(n, n)) * scores).sum() / n
        loss.backward()
        return self.answer(float(loss.detach()))

    def products(self) -> None:
        """The four matrix products that InfoNCE makes, and nothing else."""
        image, text = self.image.detach(), self.text.detach()
        scores, gradient = torch.empty(512, len(text)), torch.zeros_like(text)
        for rows in image.split(512):
            for _ in range(2):
                block = torch.mm(rows, text.T, out=scores[: len(rows)])
            torch.mm(block, text)
            gradient.addmm_(block.T, rows)

    def answer(self, loss: float) -> Answer:
        """The loss and the gradients, which the embeddings forget."""
        assert self.image.grad is not None and self.text.grad is not None
        out = loss, self.image.grad, self.text.grad
        self.image.grad = self.text.grad = None
        return out


def contestants(task: Task) -> tuple[dict[str, Callable[[], Answer]], dict[str, Callable[[], Answer]]]:
    """Of InfoNCE and of the sigmoid loss: name -> what gives the answer; all of one loss give the same."""
    dot, formula, biased = Dot(20.0), PlainDot(20.0), Dot(10.0, bias=-10.0, max_scale=1000.0)
    infonce = {
        "ours": lambda: task.ours(InfoNCE(), dot),
        "plain": task.plain,
        "plain, one product": lambda: task.plain(products=1),
        "plain by 512 rows": lambda: task.ours(InfoNCE(), formula, rows=512),
    }
    if find_spec("open_clip"):
        infonce["open_clip"] = task.open_clip
    return infonce, {"ours": lambda: task.ours(Sigmoid(), biased), "plain": task.plain_sigmoid}


def check(d: int) -> None:
    """Stop unless all contestants of a loss agree."""
    for every in contestants(Task(1024, d)):
        expected = every["plain"]()
        for run in every.values():
            for got, wanted in zip(run(), expected, strict=True):
                # Gradients are sums of 1,024 float32 products; the smallest of them are near 1e-8.
                torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(wanted), rtol=1e-3, atol=1e-8)


def memory(d: int, n: int, plain: bool) -> tuple[dict[str, float], dict[str, float]]:
    """GB and seconds of one run at `n` pairs: of both losses, and of plain InfoNCE if wanted."""
    infonce, sigmoid = contestants(Task(n, d))
    runs = {"ours": infonce["ours"], "sigmoid": sigmoid["ours"], **({"plain": infonce["plain"]} if plain else {})}
    held, took = {}, {}
    for name, run in runs.items():
        began = time.perf_counter()
        held[name] = peak_memory(run) / 1e9
        took[name] = time.perf_counter() - began
        print(f"{name} at {n:,}: {held[name]:.3f} GB in {took[name]:.1f} s", flush=True)
    return held, took


def speed(d: int, rounds: int) -> list[Figure]:
    """Seconds in turns, up to 8,192 pairs."""
    figures = []
    for n in (1024, 2048, 4096, 8192):
        task = Task(n, d)
        infonce, sigmoid = contestants(task)
        last = n == 8192
        runs = dict(infonce) if last else {name: infonce[name] for name in ("ours", "plain")}
        runs |= {f"sigmoid {name}": run for name, run in sigmoid.items()}
        took = medians(in_turns({**runs, "products": task.products}, rounds=rounds, seconds=300))
        figures += [
            figure(f"InfoNCE at {n:,}, s", took["ours"], took["plain"], bar="<= 1" if last else None),
            figure(f"sigmoid at {n:,}, s", took["sigmoid ours"], took["sigmoid plain"]),
            figure(f"InfoNCE at {n:,}, s; peer: the bare products", took["ours"], took["products"]),
        ]
        figures += [
            figure(f"InfoNCE at {n:,}, s; peer: {name}", took["ours"], took[name]) for name in list(infonce)[2:] if last
        ]
    return figures


def main() -> None:
    given = arguments("Peak memory and time of contrastive losses.", dim=512, rounds=7, plain_memory=True)
    check(given.dim)
    middle, _ = memory(given.dim, 8192, True)
    large, _ = memory(given.dim, 16384, given.plain_memory)
    largest, took = memory(given.dim, 32768, False)
    figures = [figure("InfoNCE at 8,192, GB", middle["ours"], middle["plain"])]
    if given.plain_memory:
        figures.append(figure("InfoNCE at 16,384, GB", large["ours"], large["plain"], bar="<= 0.1"))
    figures += [
        figure("InfoNCE at 32,768, GB", largest["ours"], None, value=largest["ours"], bar="<= 0.5"),
        figure("InfoNCE, GB at 32,768 over 16,384", largest["ours"], large["ours"], bar="<= 2.2"),
        figure("sigmoid at 32,768, GB", largest["sigmoid"], None),
        figure("InfoNCE at 32,768, s, one run", took["ours"], None),
        figure("sigmoid at 32,768, s, one run", took["sigmoid"], None),
        *speed(given.dim, given.rounds),
    ]
    finish(
        figures,
        next(one.ratio for one in figures if one.bar and one.ratio is not None),
        given.json,
        ["open_clip_torch"],
    )


if __name__ == "__main__":
    main()
