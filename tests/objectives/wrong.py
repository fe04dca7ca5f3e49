"""Objectives that the contract tests are tried on: two that keep every law, and others that break one each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Batch, Embedding, Example, Needs, Objective, Pairing, PairScores, Scorer
from diptych.core.objective import example_keys
from diptych.scoring import Dot


class Late(Scorer):
    """Every token of a query against the gallery's best: what is not real is no match at all."""

    def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
        similar, real, there = self._similar(queries, gallery)
        best = similar.masked_fill(~there, -torch.inf).amax(3)
        return 8 * (best * real).sum(2) / real.sum(2)

    def _similar(self, queries: Embedding, gallery: Embedding) -> tuple[Tensor, Tensor, Tensor]:
        assert queries.tokens is not None and queries.mask is not None
        assert gallery.tokens is not None and gallery.mask is not None
        similar = torch.einsum("isd,jtd->ijst", queries.tokens, gallery.tokens)
        return similar, queries.mask[:, None], gallery.mask[None, :, None]


class Right(Objective):
    """Every text should pick an image that matches, weighted by noise and by a parameter of its own."""

    name = "right"

    def __init__(self, scorer: str = "late", power: float = 1.0) -> None:
        super().__init__()
        self.scorer, self.power = scorer, power
        self.own = nn.Parameter(torch.zeros(()))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(8))

    @property
    def needs(self) -> Needs:
        return Needs(frozenset({"image", "text"}), parts=frozenset({self.scorer}))

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(batch.size("text")))

    def forward(self, pairing: Pairing) -> Tensor:
        return (self.own.exp() * self.weights(pairing) * self.losses(pairing)).sum()

    def update(self, pairing: Pairing) -> None:
        self.seen.lerp_(pairing.all["text"].dense.detach().mean(0), 0.5)

    def scores(self, pairing: Pairing) -> Tensor:
        """`[n, N]`: anchor texts against all images."""
        return pairing.parts[self.scorer](pairing.mine("text"), pairing.all["image"])

    def positives(self, pairing: Pairing) -> Tensor:
        """`[n, N]` bool."""
        return pairing.positives("text", "image")

    def weights(self, pairing: Pairing) -> Tensor:
        """`[n]`."""
        return 1 + pairing.uniform("text").to(self.own) ** self.power

    def losses(self, pairing: Pairing) -> Tensor:
        """`[n]`."""
        scores, positives = self.scores(pairing), self.positives(pairing)
        count = positives.sum(1)
        picked = (scores * positives).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, torch.logsumexp(scores, 1) - picked, 0)

    @classmethod
    def example(cls) -> Example:
        keys, items = example_keys()
        return Example(cls(), {"late": Late(), "dot": Dot(10.0)}, embeddings(items), keys, items)


def embeddings(items: dict[str, Tensor]) -> dict[str, Embedding]:
    """Unit vectors `[N, 8]` and tokens `[N, T, 6]` of images (4 tokens) and texts (2 to 6)."""
    generator = torch.Generator().manual_seed(0)
    out = {}
    for view, longest, least in (("image", 4, 4), ("text", 7, 2)):
        n = len(items[view])
        tokens = F.normalize(torch.randn(n, longest, 6, generator=generator), dim=-1)
        length = torch.randint(least, longest + (least == longest), (n, 1), generator=generator)
        vectors = {"dense": F.normalize(torch.randn(n, 8, generator=generator), dim=-1)}
        out[view] = Embedding(vectors, tokens, torch.arange(longest)[None] < length)
    return out


class Taught(Right):
    """Right, and reads all there is: a teacher's vectors, remembered too, its scores of pairs, a column, inputs."""

    name = "taught"

    @property
    def needs(self) -> Needs:
        views = frozenset({"image", "text"})
        pairs, columns = frozenset({("text", "image")}), frozenset({"weight"})
        return Needs(views, frozenset({"image"}), frozenset({self.scorer}), pairs, columns)

    def weights(self, pairing: Pairing) -> Tensor:
        return pairing.extra["text/weight"][pairing.rows["text"]] * self.words(pairing).exp()

    def words(self, pairing: Pairing) -> Tensor:
        """`[n]`: a mean of token ids."""
        ids, mask = pairing.inputs["text"]["ids"], pairing.inputs["text"]["mask"]
        return (ids * mask).sum(1).to(self.own) / mask.sum(1) / 50

    def losses(self, pairing: Pairing) -> Tensor:
        assert pairing.teacher is not None
        known = pairing.teacher.all["image"].dense
        remembered = torch.logsumexp(pairing.mine("text").dense @ F.pad(known, (0, 0, 0, 1)).T, 1)
        return super().losses(pairing) + remembered + self.apart(pairing).sum(1)

    def apart(self, pairing: Pairing) -> Tensor:
        """`[n, K]`: how far scores are from those that the teacher gave."""
        said, scores = pairing.pair_scores["text", "image"], F.pad(self.scores(pairing), (0, 1))
        return (scores.gather(1, said.index % scores.shape[1]) - said.scores) ** 2 * (said.index >= 0)

    @classmethod
    def example(cls) -> Example:
        right = super().example()
        generator = torch.Generator().manual_seed(1)
        images, texts = len(right.items["image"]), len(right.items["text"])
        known = Embedding({"dense": F.normalize(torch.randn(images + 5, 8, generator=generator), dim=-1)})
        keys = F.pad(right.keys["image"], (0, 0, 0, 5), value=-1)
        items = F.pad(right.items["image"], (0, 5), value=99)
        teacher = Pairing({"image": known}, {"image": slice(0, images)}, {"image": keys}, {"image": items}, {})
        index = torch.rand(texts, images, generator=generator).argsort(1)[:, :3]
        index[::4, 2] = -1
        scores = {("text", "image"): PairScores(index, torch.randn(texts, 3, generator=generator))}
        weight = 0.5 + torch.rand(texts, generator=generator)
        extra = {"text/weight": weight, "image/weight": torch.ones(images)}
        mask = right.embeddings["text"].mask
        assert mask is not None
        ids = torch.randint(1, 50, mask.shape, generator=generator) * mask
        inputs = {"text": {"ids": ids, "mask": mask}}
        return replace(right, inputs=inputs, extra=extra, teacher=teacher, pair_scores=scores)


class Mean(Right):
    """The mean over anchor rows, not their sum."""

    def forward(self, pairing: Pairing) -> Tensor:
        return self.losses(pairing).mean()


class Centred(Right):
    """A statistic of the anchor rows alone, where it should be of the batch."""

    def losses(self, pairing: Pairing) -> Tensor:
        losses = super().losses(pairing)
        return losses + (losses - losses.mean()) ** 2


class Partners(Right):
    """Positives are partners alone; other images that match are negatives."""

    def positives(self, pairing: Pairing) -> Tensor:
        return pairing.partner("text", "image")[:, None] == torch.arange(len(pairing.all["image"]))


class Hinge(Partners):
    """The same, of the hardest negative alone: no score that is far too low shows the fault."""

    def losses(self, pairing: Pairing) -> Tensor:
        scores, partners = self.scores(pairing), self.positives(pairing)
        hardest = scores.masked_fill(partners, -torch.inf).amax(1)
        return (1 + hardest - (scores * partners).sum(1)).clamp(min=0)


class OwnProducts(Partners):
    """The same, of scores that no scorer gave."""

    @property
    def needs(self) -> Needs:
        return Needs(frozenset({"image", "text"}))

    def scores(self, pairing: Pairing) -> Tensor:
        return 10 * pairing.mine("text").dense @ pairing.all["image"].dense.T


class Diagonal(Right):
    """Row numbers for identities."""

    def positives(self, pairing: Pairing) -> Tensor:
        rows = pairing.rows["text"]
        return torch.arange(rows.start, rows.stop)[:, None] == torch.arange(len(pairing.all["image"]))


class NumpyNoise(Right):
    """Noise of a global random state."""

    def weights(self, pairing: Pairing) -> Tensor:
        return torch.tensor(np.random.rand(len(pairing.mine("text"))))


class PlacedNoise(Right):
    """Noise of the step's seed, but keyed by place: no item's own."""

    def weights(self, pairing: Pairing) -> Tensor:
        generator = torch.Generator().manual_seed(pairing.seed)
        noise = torch.rand(len(pairing.all["text"]), generator=generator, dtype=torch.float64)
        return noise[pairing.rows["text"]]


class ZeroPadded(Right):
    """What is not real counts as 0, and 0 beats a poor match."""

    @classmethod
    def example(cls) -> Example:
        class ZeroLate(Late):
            def forward(self, queries: Embedding, gallery: Embedding) -> Tensor:
                similar, real, there = self._similar(queries, gallery)
                return 8 * ((similar * there).amax(3) * real).sum(2) / real.sum(2)

        return replace(super().example(), parts={"late": ZeroLate()})


class PaddingRead(Right):
    """A mean over all tokens, real or not."""

    def losses(self, pairing: Pairing) -> Tensor:
        tokens = pairing.mine("text").tokens
        assert tokens is not None
        return super().losses(pairing) + (tokens.mean(1) ** 2).sum(1)


class IdsRead(Taught):
    """A mean over all ids, real or not."""

    def words(self, pairing: Pairing) -> Tensor:
        return pairing.inputs["text"]["ids"].to(self.own).mean(1) / 50


class PaddingScored(Taught):
    """Heeds scores of candidates that are none."""

    def apart(self, pairing: Pairing) -> Tensor:
        return super().apart(pairing) + 0.01 * pairing.pair_scores["text", "image"].scores ** 2


class KeysCounted(Right):
    """The width of keys, that is of their padding, for how many there are."""

    def weights(self, pairing: Pairing) -> Tensor:
        return super().weights(pairing) / pairing.keys["text"].shape[1]


class Peeking(Right):
    """Reads images, and does not say so."""

    @property
    def needs(self) -> Needs:
        return replace(super().needs, views=frozenset({"text"}))


class Roaming(Right):
    """Goes over all views there are, its own or another's."""

    def losses(self, pairing: Pairing) -> Tensor:
        return super().losses(pairing) + sum(e.dense.square().sum() for e in pairing.all.values())


class SizedByAll(Right):
    """Its size counts every view of the batch, its own or another's."""

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(float(sum(batch.size(view) for view in batch.views)))


class Partless(Right):
    """Its example lacks the part that it needs."""

    @classmethod
    def example(cls) -> Example:
        return replace(super().example(), parts={})


class Remembering(Right):
    """Moves what it remembers with every forward."""

    def forward(self, pairing: Pairing) -> Tensor:
        self.update(pairing)
        return super().forward(pairing)


class OwnRows(Right):
    """Remembers its own process's rows, so processes come apart."""

    def update(self, pairing: Pairing) -> None:
        self.seen.lerp_(pairing.mine("text").dense.detach().sum(0), 0.5)


class Undefined(Right):
    """Divides by the number of positives, which may be none."""

    def losses(self, pairing: Pairing) -> Tensor:
        scores, positives = self.scores(pairing), self.positives(pairing)
        return torch.logsumexp(scores, 1) - (scores * positives).sum(1) / positives.sum(1)


class Rough(Right):
    """Rises and falls within bfloat16's rounding."""

    def losses(self, pairing: Pairing) -> Tensor:
        return (1000 * self.scores(pairing)).sin().sum(1)


class Uphill(Right):
    """The gradient of a loss that rises: forward gives one thing, backward the other's."""

    def losses(self, pairing: Pairing) -> Tensor:
        losses = super().losses(pairing)
        return 2 * losses.detach() - losses


class ShortCut(Right):
    """Takes a short cut for the scorer that it knows, to another place."""

    def scores(self, pairing: Pairing) -> Tensor:
        scores = super().scores(pairing)
        return scores.bfloat16().to(scores) if type(pairing.parts[self.scorer]) is Late else scores


class Forgetful(Right):
    """Does not keep its argument."""

    def __init__(self, scorer: str = "late", power: float = 1.0, extra: int = 2) -> None:
        super().__init__(scorer, power)


class Unsaved(Right):
    """Remembers something that its state lacks."""

    def __init__(self, scorer: str = "late", power: float = 1.0) -> None:
        super().__init__(scorer, power)
        self.moved: Tensor
        self.register_buffer("moved", torch.ones(()), persistent=False)

    def update(self, pairing: Pairing) -> None:
        self.moved += 1

    def losses(self, pairing: Pairing) -> Tensor:
        return self.moved * super().losses(pairing)


class SizedOnce(Right):
    """A size that does not add up over processes."""

    def size(self, batch: Batch) -> Tensor:
        return torch.tensor(20.0)


class Picky(Right):
    """Fails on a process that has no rows."""

    def losses(self, pairing: Pairing) -> Tensor:
        if not len(pairing.mine("text")):
            raise ValueError("no rows at all")
        return super().losses(pairing)


IN_PROCESSES = (Right, Taught, Centred, Picky)
