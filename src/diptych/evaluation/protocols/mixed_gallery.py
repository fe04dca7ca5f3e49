"""Queries and documents that are pictures, texts, or both at once, all in one gallery; and finding what contradicts.

    picture, text        their vectors
    both together        the sum of the two unit vectors, scaled to unit length

Each picture of the table is three documents: itself, one of its captions, and the two together; and, by another of its
captions, three queries: the caption, the picture, or the picture with half of the caption's words. Right are the
documents of the query's picture; those with the picture that the query itself has are left out of its gallery. Measured
is nDCG@k of each kind of query (`ndcg@k_text`, `_image`, `_both`), their mean, that of each domain where a column says
one, and how much of the first k that a text finds is of which kind (`first_image`, `first_text`, `first_both`): a model
with a gap between modalities finds documents of the query's own kind, whatever they say.

`contradiction` is another task: given a picture, find among several captions the one that conflicts with it, a negative
by rule of one of its own (`diptych.data.caption_negatives`) among its other captions. `contradiction_accuracy` is the
share of pictures whose conflicting caption has the lowest score, beside chance.

Source: Zhang et al. 2025 (MRMR, arXiv 2510.09510): the mixed gallery of interleaved documents, nDCG@10 a domain, and
contradiction retrieval. There queries and documents are experts' and need reasoning; these are captions of a table, and
say nothing of reasoning. Adding vectors is the simplest reader of both, and ours.

System: 233 (MRMR)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding
from diptych.data.caption_negatives import KINDS, caption_negatives
from diptych.data.word_classes import learn_things
from diptych.evaluation.bench import Bench
from diptych.evaluation.fields import words_of
from diptych.evaluation.graded import graded_ranks, ndcg
from diptych.evaluation.measured import Measured

Kind = Literal["image", "text", "both"]
DOCUMENTS: tuple[Kind, ...] = ("image", "text", "both")


def measure(
    bench: Bench,
    *,
    k: int = 10,
    domain: str | None = None,
    contradictions: bool = True,
    most: int = 1000,
    seed: int = 0,
) -> Measured:
    """nDCG@k of each kind of query and domain, what kinds come first, and the accuracy of contradiction.

    Args:
        bench: a table of pictures with two texts or more; others are left out.
        k: depth.
        domain: a column or field that says a row's domain; None for none.
        contradictions: whether to ask for them; the texts must be English.
        most: pictures; of more, so many are drawn by the seed.
        seed: of that draw, of captions and of negatives.

    Raises:
        ValueError: if fewer than two pictures have two texts.
    """
    texts = bench.table["text"][:]
    rows = np.flatnonzero([len(set(own)) > 1 for own in texts])
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(bench)} pictures have two unlike texts: one is asked, one is found")
    random = np.random.default_rng(seed)
    if len(rows) > most:
        rows = np.sort(random.choice(rows, most, replace=False))
    drawn = [_two(texts[row], random) for row in rows]
    image = bench.image[torch.from_numpy(rows)]
    asked, held = bench.texts([one for one, _ in drawn]), bench.texts([other for _, other in drawn])
    half = bench.texts([_half(one, random) for one, _ in drawn])
    gallery = Embedding.cat([image, held, together(image, held)])
    queries: dict[Kind, Embedding] = {"image": image, "text": asked, "both": together(image, half)}
    count = len(rows)
    right = {
        "image": torch.stack([torch.arange(count) + count], 1),  # its caption
        "text": torch.arange(count)[:, None] + count * torch.arange(3),  # its picture, other caption, and both
        "both": torch.stack([torch.arange(count) + count], 1),
    }
    own = {"image": (0, 2), "text": (), "both": (0, 2)}  # documents that have the query's own picture in them
    domains = None if domain is None else [words_of(bench, domain)[row] for row in rows]
    numbers: dict[str, float] = {}
    items: dict[str, Tensor] = {}
    for kind, query in queries.items():
        value, kinds = _ranked(bench, query, gallery, right[kind], own[kind], k)
        items[f"ndcg@{k}_{kind}"] = value
        numbers[f"ndcg@{k}_{kind}"] = float(value.mean())
        if kind == "text":
            numbers |= {f"first_{name}": share for name, share in zip(DOCUMENTS, kinds, strict=True)}
    numbers[f"ndcg@{k}"] = sum(float(values.mean()) for values in items.values()) / len(items)
    mean = torch.stack(list(items.values())).mean(0)
    for name in sorted({one for one in domains or () if one is not None}):
        mine = torch.tensor([one == name for one in domains or ()])
        numbers[f"ndcg@{k}_of_{name}"] = float(mean[mine].mean())
    chance = dict.fromkeys([f"first_{name}" for name in DOCUMENTS], 1 / 3)
    notes = [f"{count:,} pictures, {len(gallery):,} documents: as many pictures, texts, and both together"]
    if contradictions:
        found, guess, note = _contradictions(bench, rows, seed)
        notes.append(note)
        if found is not None:
            items["contradiction_accuracy"] = found
            numbers["contradiction_accuracy"], chance["contradiction_accuracy"] = float(found.mean()), guess
    return Measured(numbers, chance, items, notes=notes)


def together(one: Embedding, other: Embedding) -> Embedding:
    """Row by row the sum of two dense vectors of unit length, of unit length."""
    both = F.normalize(F.normalize(one.dense, dim=-1) + F.normalize(other.dense, dim=-1), dim=-1)
    return replace(Embedding(), vectors={"dense": both})


def _two(own: Sequence[str], random: np.random.Generator) -> tuple[str, str]:
    """Two unlike captions of a picture."""
    different = list(dict.fromkeys(own))
    first, second = random.permutation(len(different))[:2]
    return different[first], different[second]


def _half(text: str, random: np.random.Generator) -> str:
    """Every second word of a text, from the first or the second on; all of it if it has one."""
    words = text.split()
    return " ".join(words[random.integers(2) :: 2]) if len(words) > 1 else text


@torch.inference_mode()
def _ranked(
    bench: Bench, queries: Embedding, gallery: Embedding, right: Tensor, own: Sequence[int], k: int
) -> tuple[Tensor, list[float]]:
    """nDCG@k of each query `[Q]`, and of the first k which share is of each kind of document.

    Args:
        right: `[Q, P]`, documents that are right.
        own: kinds of documents, of the query's row, that are taken out.
    """
    count = len(queries)
    values, kinds = [], torch.zeros(3)
    for start in range(0, count, 512):
        here = torch.arange(start, min(start + 512, count))
        scores = bench.scorer(queries[here], gallery).float()
        for kind in own:
            scores[torch.arange(len(here)), here + kind * count] = -torch.inf
        gains = torch.ones(len(here), right.shape[1])
        values.append(ndcg(*graded_ranks(scores, right[here], gains, first_query=start), k))
        first = scores.topk(min(k, scores.shape[1]), dim=1).indices // count
        kinds += torch.bincount(first.flatten(), minlength=3)
    return torch.cat(values), (kinds / kinds.sum()).tolist()


@torch.inference_mode()
def _contradictions(bench: Bench, rows: np.ndarray, seed: int) -> tuple[Tensor | None, float, str]:
    """Whether each picture's conflicting caption has the lowest score, chance, and what to say of it."""
    all_texts = [list(own) for own in bench.table["text"][:]]
    captions = [all_texts[row] for row in rows]
    things = learn_things(all_texts, least=min(5, max(1, len(all_texts) // 100)))
    made = caption_negatives(captions, things, seed=seed)
    random = np.random.default_rng(seed)
    of: dict[int, list[int]] = {}
    for place, one in enumerate(made.found):
        of.setdefault(one.image, []).append(place)
    chosen = [made.found[places[random.integers(len(places))]] for places in of.values()]
    if not chosen:
        return None, 0.0, f"contradiction: no rule of {', '.join(KINDS)} applies to any caption"
    texts, image, wrong = [], [], []
    for one in chosen:
        others = [text for number, text in enumerate(captions[one.image]) if number != one.text]
        wrong.append(len(texts))
        texts += [one.negative, *others]
        image += [int(rows[one.image])] * (1 + len(others))
    scores = bench.scorer.pairs(bench.image[torch.tensor(image)], bench.texts(texts)).double()
    right, guess = [], []
    for start, stop in zip(wrong, [*wrong[1:], len(texts)], strict=True):
        right.append(float((scores[start + 1 : stop] > scores[start]).all()))
        guess.append(1 / (stop - start))
    note = f"contradiction: {len(chosen):,} of {len(rows):,} pictures have a negative, made by rule and unchecked"
    return torch.tensor(right, dtype=torch.float64), sum(guess) / len(guess), note
