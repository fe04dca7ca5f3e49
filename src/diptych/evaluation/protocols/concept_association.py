"""Asked for a quality of one thing in a picture of two, does a model name that of the other?

    picture   = thing A beside thing B, of unlike qualities a and b
    question  = "the colour of the A is ...", every quality of the table in turn; the best fit is the answer
    own       = share of answers a;      other = share of answers b
    cab       = other / (own + other)

A model that binds qualities to things has a cab near 0, one that takes picture and sentence for bags of words one
half or more: since the sentence names A alone, b fills the gap that B leaves. Where the table's things have a quality
each by nature (all lemons yellow) the bias is said to be strong, where any quality is theirs weak: `cab_strong` is
of questions where at least half of the table's B have b, `cab_weak` of the others, and `strong_less_weak` their
difference. `single_accuracy` is of A alone, without which none of this means anything.

Source: Yamada et al. 2022 (arXiv 2212.12043), for the probe and the finding. Their score was not at hand: `cab` is
ours. Their things are photographs put on one picture; here any two rows of a table are set side by side.

System: 207 (Concept Association Bias)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.data.images import decode_image
from diptych.evaluation.bench import Bench
from diptych.evaluation.fields import words_of
from diptych.evaluation.measured import Found, Measured, Shown

CHUNK = 256
SHOWN = 12
STRONG = 0.5
"""Share of a thing's rows that have a quality, from which on the thing is said to have it by nature."""


def measure(
    bench: Bench,
    *,
    thing: str = "label",
    quality: str | None = None,
    by_nature: dict[str, str] | None = None,
    prompt: str = "the colour of the {thing} is {quality}",
    questions: int = 500,
    seed: int = 0,
) -> Measured:
    """`cab`, `own`, `other`, by strength of association, and `single_accuracy`.

    Args:
        bench: a table of pictures of one thing each.
        thing: the column or field that names it ("label", "attributes.articleType").
        quality: the column or field of its quality; or None, and
        by_nature: thing -> quality, of the things that are to be asked for; names in lower case.
        prompt: the question's sentence, with `{thing}` and `{quality}`.
        questions: how many pairs are put together, drawn by the seed.
        seed: of pairs, and of which of the two stands left.

    Raises:
        ValueError: if not just one of `quality` and `by_nature` is given, the prompt lacks a place, or the rows have
            fewer than two things of unlike qualities.
    """
    if (quality is None) == (by_nature is None):
        raise ValueError("give either `quality`, a column, or `by_nature`, the quality of each thing")
    if "{thing}" not in prompt or "{quality}" not in prompt:
        raise ValueError(f"prompt is {prompt!r}; it needs {{thing}} and {{quality}}")
    things = [None if one is None else one.lower() for one in words_of(bench, thing)]
    if quality is None:
        known: Mapping[str, str] = {name.lower(): own.lower() for name, own in (by_nature or {}).items()}
        qualities = [known.get(one or "") for one in things]
    else:
        qualities = [None if one is None else one.lower() for one in words_of(bench, quality)]
    asked = _questions(things, qualities, questions, seed)
    choices = sorted({own for row, own in enumerate(qualities) if own and things[row]})
    answers = _answers(bench, [one.thing for one in asked], list(_pictures(bench, asked)), choices, prompt)
    alone = _answers(
        bench, [one.thing for one in asked], [bench.image[torch.tensor([one.row for one in asked])]], choices, prompt
    )
    own = torch.tensor([choices.index(one.own) for one in asked])
    other = torch.tensor([choices.index(one.other) for one in asked])
    named_own, named_other = (answers == own).double(), (answers == other).double()
    items = {"own": named_own, "other": named_other, "single_accuracy": (alone == own).double()}
    numbers = {name: float(values.mean()) for name, values in items.items()}
    strong = torch.tensor([one.strength >= STRONG for one in asked])
    numbers["cab"] = _cab(named_own, named_other)
    if strong.any() and not strong.all():
        numbers["cab_strong"] = _cab(named_own[strong], named_other[strong])
        numbers["cab_weak"] = _cab(named_own[~strong], named_other[~strong])
        numbers["strong_less_weak"] = numbers["cab_strong"] - numbers["cab_weak"]
    guess = 1 / len(choices)
    chance = {"own": guess, "other": guess, "single_accuracy": guess, "cab": 0.5}
    notes = [
        f"{len(asked):,} questions of {len({one.thing for one in asked})} things and {len(choices)} qualities; "
        f"of {int(strong.sum()):,} the other thing has its quality by nature",
        "cab is NaN where no answer names a quality of either thing" if np.isnan(numbers["cab"]) else "",
    ]
    return Measured(
        numbers, chance, items, shown=_shown(asked, answers, choices, prompt), notes=[note for note in notes if note]
    )


@dataclass(frozen=True)
class _Question:
    """Whose quality is asked for, and what stands beside it."""

    row: int
    beside: int
    thing: str
    own: str
    other: str
    strength: float  # share of the other thing's rows that have its quality
    left: bool


def _questions(things: Sequence[str | None], qualities: Sequence[str | None], count: int, seed: int) -> list[_Question]:
    rows = [row for row, (a, b) in enumerate(zip(things, qualities, strict=True)) if a and b]
    have: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        have[str(things[row])][str(qualities[row])] += 1
    random = np.random.default_rng(seed)
    if len({qualities[row] for row in rows}) < 2 or len(have) < 2:
        raise ValueError(
            f"{len(rows):,} rows have both a thing and a quality, {len(have)} things in all; two things of unlike "
            "qualities are needed"
        )
    out: list[_Question] = []
    for _ in range(20 * count):  # many draws are of one thing or of one quality
        row, beside = (rows[i] for i in random.integers(len(rows), size=2))
        thing, other = str(things[row]), str(things[beside])
        if thing != other and qualities[row] != qualities[beside]:
            mine, theirs = str(qualities[row]), str(qualities[beside])
            strength = have[other][theirs] / have[other].total()
            out.append(_Question(row, beside, thing, mine, theirs, strength, bool(random.integers(2))))
        if len(out) == count:
            break
    if not out:
        raise ValueError("no two rows of unlike things have unlike qualities")
    return out


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side, the second brought to the first one's height."""
    width = max(1, round(right.width * left.height / right.height))
    both = Image.new("RGB", (left.width + width, left.height))
    both.paste(left, (0, 0))
    both.paste(right.resize((width, left.height), Image.Resampling.BICUBIC), (left.width, 0))
    return both


def _pictures(bench: Bench, asked: Sequence[_Question]):
    for start in range(0, len(asked), CHUNK):
        made = []
        for one in asked[start : start + CHUNK]:
            own, other = (decode_image(bench.table[row]["image"], mode="RGB") for row in (one.row, one.beside))
            made.append(beside(own, other) if one.left else beside(other, own))
        yield bench.images(made)


@torch.inference_mode()
def _answers(
    bench: Bench, things: Sequence[str], images: Sequence[Embedding], choices: Sequence[str], prompt: str
) -> Tensor:
    """`[n]`: which quality fits best; -1 where two or more fit equally well."""
    image = Embedding.cat(list(images))
    scores = []
    for quality in choices:
        texts = bench.texts([prompt.replace("{thing}", thing).replace("{quality}", quality) for thing in things])
        scores.append(bench.scorer.pairs(image, texts))
    best, answer = torch.stack(scores, 1).max(1)
    tied = (torch.stack(scores, 1) == best[:, None]).sum(1) > 1
    return answer.masked_fill(tied, -1)


def _cab(own: Tensor, other: Tensor) -> float:
    both = float(own.sum() + other.sum())
    return float(other.sum()) / both if both else float("nan")


def _shown(asked: Sequence[_Question], answers: Tensor, choices: Sequence[str], prompt: str) -> list[Shown]:
    """Questions that were answered by the other thing's quality; the picture shown is that of the thing alone."""
    out = []
    for one, answer in zip(asked, answers.tolist(), strict=True):
        if answer >= 0 and choices[answer] == one.other and len(out) < SHOWN:
            words = prompt.replace("{thing}", one.thing)
            found = [Found(1.0, False, one.beside, words.replace("{quality}", one.other))]
            found.append(Found(0.0, True, one.row, words.replace("{quality}", one.own)))
            out.append(Shown(found, words.replace("{quality}", "..."), one.row))
    return out
