"""Retrieval in a gallery that is made harder by look-alikes, beside the same number of pictures drawn at random.

    gallery = test pictures  +  of another split, the `near` nearest of each (or as many drawn at random)

A drop with look-alikes beyond that with random pictures says that a model knows what a picture is about and not what
tells it from the next one. The texts' gallery is enlarged likewise by the captions of the added pictures. An added
picture with the id, or word for word a caption, of a test picture is left out; one that a test caption fits by chance
is not found out, and counts as wrong: so part of the drop is not the model's fault.

Look-alikes are found by the measured model itself, unless `by` names another: models are to be compared on one gallery.

Source: Chen et al. 2023 (MSCOCO-FG and Flickr30K-FG, arXiv 2304.10824), which also has captions refined by hand, and
neighbours of its own making; refining captions is left out here, and the random gallery is ours.

System: 14 (MSCOCO-FG/Flickr30K-FG)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Measured, Of
from diptych.evaluation.retrieval import retrieve
from diptych.models.opened import open_model

WAYS: tuple[tuple[str, Of, Of], ...] = (("t2i", "text", "image"), ("i2t", "image", "text"))


def measure(bench: Bench, *, near: int = 5, k: int = 1, by: str | None = None, seed: int = 0) -> Measured:
    """Recall at k each way in the gallery as it is, with look-alikes (`_hard`), and with as many others (`_random`).

    `t2i_hard_drop` and `t2i_random_drop` are the differences to the gallery as it is; `near_drop` is the mean over both
    ways of what look-alikes cost beyond random pictures.

    Args:
        bench: a table with texts, and rows that may be learned from.
        near: look-alikes of each test picture, at least 1; the same picture counts once.
        k: depth of recall.
        by: the model whose image vectors tell what looks alike, as `open_model` takes it; None for the measured one.
        seed: of the pictures drawn at random.

    Raises:
        ValueError: if a test picture has no text, there are no other rows, or no more than `near`.
    """
    keys = bench.pairs.keys
    with_text = torch.from_numpy(np.flatnonzero(np.diff(keys.offsets)))
    if len(with_text) < len(bench):
        raise ValueError(f"{len(bench) - len(with_text)} of {len(bench)} pictures have no text; leave them out")
    allowed = _allowed(bench)
    if near < 1 or len(allowed) <= near:
        raise ValueError(
            f"near is {near}, of {len(allowed)} pictures to take; it must be 1 or more, and fewer than these"
        )
    hard = _nearest(bench, by, allowed, near)
    drawn = np.random.default_rng(seed).choice(len(allowed), len(hard), replace=False)
    added = {"": torch.empty(0, dtype=torch.long), "_hard": hard, "_random": allowed[torch.from_numpy(np.sort(drawn))]}
    numbers, chance, items = {}, {}, {}
    of: dict[str, Of] = {}
    mine = {"image": (bench.image, torch.from_numpy(keys.image)), "text": (bench.text, torch.from_numpy(keys.text))}
    for name, rows in added.items():
        gallery = _enlarged(bench, rows)
        for prefix, asking, asked in WAYS:
            queries, own = mine[asking]
            report = retrieve(queries, gallery[asked][0], own, gallery[asked][1], bench.scorer, ks=[k])
            number = f"{prefix}_recall@{k}{name}"
            numbers[number], chance[number] = report.recall[k], report.chance[k]
            items[number] = (report.best_rank <= k).double().masked_fill(report.best_rank == 0, torch.nan)
            of[number] = asking
    for prefix in ("t2i", "i2t"):
        for name in ("hard", "random"):
            numbers[f"{prefix}_{name}_drop"] = numbers[f"{prefix}_recall@{k}"] - numbers[f"{prefix}_recall@{k}_{name}"]
    numbers["near_drop"] = (
        sum(numbers[f"{way}_hard_drop"] - numbers[f"{way}_random_drop"] for way in ("t2i", "i2t")) / 2
    )
    notes = [
        f"{len(hard):,} look-alikes of {len(bench):,} pictures, found by {by or 'the measured model'}; "
        f"{len(bench.train) - len(allowed):,} pictures of the other split share an id or a caption and were not taken",
        "a look-alike that a caption fits is counted as wrong",
    ]
    return Measured(numbers, chance, items, of, notes=notes)


def _allowed(bench: Bench) -> Tensor:
    """Rows of the other split that share neither an id nor a caption, word for word, with a measured one."""
    other = bench.train
    ids, captions = set(map(str, bench.table["id"][:])), {text.casefold() for text in bench.captions}
    good = [
        row
        for row, (name, texts) in enumerate(zip(other.table["id"][:], other.table["text"][:], strict=True))
        if str(name) not in ids and not any(text.casefold() in captions for text in texts)
    ]
    return torch.tensor(good, dtype=torch.long)


def _nearest(bench: Bench, by: str | None, allowed: Tensor, near: int) -> Tensor:
    """The rows of the other split, ascending and once each, that are among the nearest of any measured picture."""
    if by is None:
        mine, theirs = bench.image.dense, bench.train.image.dense[allowed]
    else:
        judge = open_model(by).model
        here, there = Bench(judge, bench.table), Bench(judge, bench.train.table)
        mine, theirs = here.image.dense, there.image.dense[allowed]
    found = [(rows @ theirs.T).topk(near, dim=1).indices for rows in mine.split(512)]
    return allowed[torch.cat(found).unique()]


def _enlarged(bench: Bench, rows: Tensor) -> dict[Of, tuple[Embedding, Tensor]]:
    """Images and texts with their keys, and some rows of the other split with their captions, which have none."""
    image, text = torch.from_numpy(bench.pairs.keys.image), torch.from_numpy(bench.pairs.keys.text)
    if not len(rows):
        return {"image": (bench.image, image), "text": (bench.text, text)}
    other = bench.train
    offsets = torch.from_numpy(other.pairs.keys.offsets)
    texts = torch.cat([torch.arange(int(offsets[row]), int(offsets[row + 1])) for row in rows.tolist()])
    all_texts = Embedding.cat([bench.text, other.text[texts]]) if len(texts) else bench.text
    return {
        "image": (Embedding.cat([bench.image, other.image[rows]]), _with_none(image, len(rows))),
        "text": (all_texts, _with_none(text, len(texts))),
    }


def _with_none(keys: Tensor, more: int) -> Tensor:
    return torch.cat([keys, torch.full((more, keys.shape[1]), -1)])
