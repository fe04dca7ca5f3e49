"""Does a model rank one rendering of a picture before another that shows the same?

    gallery      every picture twice: as it is ("real"), and in another rendering ("made")
    m_real       recall at k (and MRR) where only the real one is right, in the ranking of all; m_made likewise
    relative     = 2 (m_real - m_made) / (m_real + m_made),  -2 to 2; below 0 the made ones come first

For why, the mean shift d of vectors from real to made is learned on one half of the pairs and tried on the other:
`consistency` is the mean cosine of a pair's own shift with d, `separable` the AUROC of the projection on d, and the
relative figures `_without_shift` are measured once d is taken out of all vectors of the gallery.

The paper's made pictures are a diffusion model's, chosen to fit the caption as well as the real one. None is made
here: `made` is a stand-in by rule (smoothed, or compressed hard), or the table has two renderings of each thing (`by`,
`source`, `real`: emoji in two styles). What is found of a stand-in says that a model prefers that rendering, no more.

Sources: Xu et al. 2024 (arXiv 2311.14084), for the question, the paired gallery and the shift; the relative difference
as in Dai et al. 2024 (arXiv 2310.20501), where it is a percentage.

System: 203 (Invisible relevance bias)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.data.image_corruptions import corrupt
from diptych.data.images import decode_image
from diptych.evaluation.bench import Bench
from diptych.evaluation.detection import auroc
from diptych.evaluation.fields import words_of
from diptych.evaluation.measured import Measured
from diptych.evaluation.metrics import ranks_of

Made = Literal["smoothed", "compressed"]
CHUNK = 256


def measure(
    bench: Bench,
    *,
    made: Made | None = "smoothed",
    by: str | None = None,
    source: str | None = None,
    real: str | None = None,
    ks: Sequence[int] = (1, 5),
    most: int = 1000,
    seed: int = 0,
) -> Measured:
    """`relative_delta@k`, `relative_delta_mrr`, the figures of either rendering, `made_first`, and the shift.

    Args:
        bench: a table with texts.
        made: how the other rendering is made; None if the table has both, and then
        by: the column that two renderings of one thing share,
        source: the column that says which rendering a row is, and
        real: the value of it that counts as real; of others the first row is taken.
        ks: depths of recall.
        most: pairs measured; of more, so many are drawn by the seed.
        seed: of that draw and of the halves.

    Raises:
        ValueError: if both or neither of `made` and `by` are given, or there are fewer than four pairs with a text.
    """
    if (made is None) == (by is None):
        raise ValueError("give either `made`, how the other rendering is made, or the columns `by` and `source`")
    pairs = _made(bench, made, most, seed) if made else _found(bench, str(by), str(source), str(real), most, seed)
    texts, owner = [], []
    for pair, row in enumerate(pairs.rows):
        own = bench.table[row]["text"]
        texts += own
        owner += [pair] * len(own)
    count = len(pairs.rows)
    columns = torch.tensor(owner)[:, None] + torch.tensor([0, count])  # [Q, 2]: the real one, the made one
    numbers, items = _measured(bench, bench.texts(texts), Embedding.cat([pairs.real, pairs.made]), columns, ks)
    chance = {"made_first": 0.5, "consistency": 0.0, "separable": 0.5}
    shifted, without = _shift(pairs.real, pairs.made, seed)
    again, _ = _measured(bench, bench.texts(texts), without, columns, ks)
    numbers |= shifted | {f"{name}_without_shift": value for name, value in again.items()}
    notes = [
        f"{count:,} pairs, {len(texts):,} texts; "
        + ("the other rendering is made by rule" if made else "as in the table"),
        "relative figures are from -2 to 2, below 0 where the made rendering comes first",
    ]
    clusters = dict.fromkeys(items, torch.tensor(owner))  # texts of one pair
    return Measured(numbers, chance, items, clusters=clusters, notes=notes)


@dataclass(frozen=True)
class _Pairs:
    rows: list[int]  # of the real ones, in the table
    real: Embedding
    made: Embedding


def _made(bench: Bench, how: Made, most: int, seed: int) -> _Pairs:
    rows = _some([row for row, own in enumerate(bench.table["text"][:]) if own], most, seed)
    made = Embedding.cat(list(_rendered(bench, rows, how)))
    return _Pairs(rows, bench.image[torch.tensor(rows)], made)


def _rendered(bench: Bench, rows: Sequence[int], how: Made) -> Iterator[Embedding]:
    for start in range(0, len(rows), CHUNK):
        pictures = (decode_image(bench.table[row]["image"], mode="RGB") for row in rows[start : start + CHUNK])
        yield bench.images([render(picture, how) for picture in pictures])


def render(picture: Image.Image, how: Made) -> Image.Image:
    """Another rendering: without the finest texture ("smoothed": the median of 3 x 3), or JPEG at quality 7."""
    if how == "compressed":
        return corrupt(picture, "jpeg", 5, random=np.random.default_rng(0))
    return picture.filter(ImageFilter.MedianFilter(3))


def _found(bench: Bench, by: str, source: str, real: str, most: int, seed: int) -> _Pairs:
    things, sources, texts = words_of(bench, by), words_of(bench, source), bench.table["text"][:]
    reals: dict[str, int] = {}
    others: dict[str, int] = {}
    for row, (thing, own) in enumerate(zip(things, sources, strict=True)):
        if thing is not None and own is not None:
            (reals if own == real else others).setdefault(thing, row)
    if not reals:
        raise ValueError(f"no row has {real!r} in column {source!r}; it has {sorted({one for one in sources if one})}")
    both = _some([row for thing, row in reals.items() if thing in others and texts[row]], most, seed)
    theirs = [others[str(things[row])] for row in both]
    return _Pairs(both, bench.image[torch.tensor(both)], bench.image[torch.tensor(theirs)])


def _some(rows: list[int], most: int, seed: int) -> list[int]:
    if len(rows) < 4:
        raise ValueError(f"{len(rows)} pairs of pictures have a text; two halves of two or more are needed")
    if len(rows) <= most:
        return rows
    return sorted(np.random.default_rng(seed).choice(rows, most, replace=False).tolist())


@torch.inference_mode()
def _measured(
    bench: Bench, texts: Embedding, gallery: Embedding, columns: Tensor, ks: Sequence[int]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    ranks, first = [], []
    for start in range(0, len(texts), 512):
        scores = bench.scorer(texts[start : start + 512], gallery)
        own = columns[start : start + 512]
        ranks.append(torch.cat([ranks_of(scores, own[:, [side]], first_query=start) for side in (0, 1)], 1))
        real, made = scores.gather(1, own).unbind(1)
        first.append((made > real).double() + 0.5 * (made == real).double())
    rank, made_first = torch.cat(ranks).double(), torch.cat(first)
    items = {"made_first": made_first}
    numbers = {"made_first": float(made_first.mean())}
    for name, value in {**{f"@{k}": (rank <= k).double() for k in ks}, "_mrr": 1 / rank}.items():
        measure = "mrr" if name == "_mrr" else f"recall{name}"
        for side, which in enumerate(("real", "made")):
            numbers[f"{which}_{measure}"] = float(value[:, side].mean())
        numbers[f"relative_delta{name}"] = relative_delta(numbers[f"real_{measure}"], numbers[f"made_{measure}"])
    return numbers, items


def relative_delta(real: float, made: float) -> float:
    """How much more one measure is than another, beside their mean: -2 to 2, 0 where both are 0.

    Example:
        >>> relative_delta(0.25, 0.75)
        -1.0
    """
    return 2 * (real - made) / (real + made) if real + made else 0.0


def _shift(real: Embedding, made: Embedding, seed: int) -> tuple[dict[str, float], Embedding]:
    """What the shift learned on the other half says of each pair, and all vectors without it, real ones first."""
    half = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed)) % 2
    before, after = F.normalize(real.dense, dim=1), F.normalize(made.dense, dim=1)
    along = torch.empty(len(real))
    projected = torch.empty(2, len(real))
    cleaned = torch.stack([before, after])
    for side in (0, 1):
        mine = half == side
        shift = F.normalize((after - before)[~mine].mean(0), dim=0)
        along[mine] = F.cosine_similarity((after - before)[mine], shift[None], dim=1)
        own = cleaned[:, mine] @ shift
        projected[:, mine] = own
        cleaned[:, mine] = F.normalize(cleaned[:, mine] - own[..., None] * shift, dim=-1)
    numbers = {"consistency": float(along.mean()), "separable": auroc(projected[1], projected[0])}
    both = Embedding.cat([real, made])
    return numbers, replace(both, vectors={**both.vectors, "dense": cleaned.flatten(0, 1)})
