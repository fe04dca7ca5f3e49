"""Words added to captions that are true of the picture: does a query that says more still find it?

    "girl on a chair"  ->  "little girl on a wooden chair"

Before each thing that has no quality yet, one is put in: the one whose phrase ("wooden chair") fits the picture best by
the model's own score, of all that the collection's captions have before this word (`chosen`); or one drawn at random of
the same (`random`), most of which are not true. Measured are MRR and recall at 1 of text to image before and after, and

    relative drop = (MRR before - MRR after) / MRR before

A chosen quality is true so far as the model sees, so a drop says that it takes more words for less; a model that uses
what it sees gains. Use it beside `robustness`, whose changes of texts look at no picture.

Source: Ramshetty, Verma & Kumar 2023 (XMAI, arXiv 2306.11065). There a detector names things and qualities, a masked
language model proposes words, and fluency, similarity and agreement are weighted; here the collection's own bigrams
propose, and the measured model alone chooses, which makes its `chosen` kinder than XMAI's.

System: 286 (XMAI)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.data.word_classes import ARTICLES, QUALITIES, Things, learn_things, tokens_of
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Measured, Of
from diptych.evaluation.retrieval import retrieve

Place = tuple[int, int, str]
"""The text, where in it the thing begins (a character), and the thing."""


def measure(
    bench: Bench,
    *,
    classes: Sequence[str] = ("colour", "size", "age", "material", "pattern"),
    least: int = 5,
    seed: int = 0,
) -> Measured:
    """MRR and recall at 1 of the captions as they are, with qualities chosen, and with qualities at random.

    Args:
        bench: a table with English texts.
        classes: of qualities, of `diptych.data.word_classes.QUALITIES`.
        least: pictures whose captions must name a thing for it to be used.
        seed: of what is drawn.

    Raises:
        ValueError: if there is no such class of qualities, or nothing can be put into any caption.
    """
    if unknown := [one for one in classes if one not in QUALITIES]:
        raise ValueError(f"no class of qualities {unknown[0]!r}; there are {', '.join(QUALITIES)}")
    things = learn_things([list(own) for own in bench.table["text"][:]], least=least)
    words = [group[0] for name in classes for group in QUALITIES[name]]
    options = {thing: [word for word in words if (word, thing) in things.beside] for thing in things.count}
    places = [place for number, text in enumerate(bench.captions) for place in _places(number, text, things, options)]
    if not places:
        raise ValueError(f"no thing without a quality in {len(bench.captions):,} captions, which must be English")
    random = np.random.default_rng(seed)
    drawn = [options[thing][random.integers(len(options[thing]))] for _, _, thing in places]
    changed = {
        "chosen": _with(bench.captions, places, _chosen(bench, places, options)),
        "random": _with(bench.captions, places, drawn),
    }
    image_keys, text_keys = torch.from_numpy(bench.pairs.keys.image), torch.from_numpy(bench.pairs.keys.text)
    numbers, chance, items = {}, {}, {}
    of: dict[str, Of] = {}
    for name, texts in {"": bench.text, **{end: bench.texts(own) for end, own in changed.items()}}.items():
        report = retrieve(texts, bench.image, text_keys, image_keys, bench.scorer, ks=[1])
        end = f"_{name}" if name else ""
        numbers |= {f"mrr{end}": report.mrr, f"recall@1{end}": report.recall[1]}
        chance[f"recall@1{end}"] = report.chance[1]
        items[f"mrr{end}"] = 1 / report.best_rank.double()
        of[f"mrr{end}"] = "text"
    for name in changed:
        numbers[f"relative_drop_{name}"] = (numbers["mrr"] - numbers[f"mrr_{name}"]) / numbers["mrr"]
    touched = len({number for number, _, _ in places})
    notes = [
        f"{len(places):,} qualities are put into {touched:,} of {len(bench.captions):,} captions, at the same places",
        "the chosen ones are true so far as the measured model sees; nobody checked",
    ]
    return Measured(numbers, chance, items, of, notes=notes)


def _places(number: int, text: str, things: Things, options: Mapping[str, Sequence[str]]) -> list[Place]:
    """Things behind an article, with no quality and in no compound, that some quality stands before elsewhere."""
    tokens = tokens_of(text)
    words = [token.word for token in tokens]
    return [
        (number, tokens[i].start, words[i])
        for i in range(1, len(words))
        if words[i] in things
        and words[i - 1] in ARTICLES
        and (i + 1 == len(words) or words[i + 1] not in things)
        and options[words[i]]
    ]


@torch.inference_mode()
def _chosen(bench: Bench, places: Sequence[Place], options: Mapping[str, Sequence[str]]) -> list[str]:
    """For each place the quality whose phrase with the thing fits the text's picture best."""
    owner = bench.pairs.keys.owner
    phrases = {thing: bench.texts([f"{word} {thing}" for word in options[thing]]) for _, _, thing in places}
    out = []
    for number, _, thing in places:
        row = int(owner[number])
        out.append(options[thing][int(_fit(bench, row, phrases[thing]).argmax())])
    return out


def _fit(bench: Bench, row: int, phrases: Embedding) -> Tensor:
    image = bench.image[torch.full((len(phrases),), row)]
    return bench.scorer.pairs(image, phrases)


def _with(captions: Sequence[str], places: Sequence[Place], words: Sequence[str]) -> list[str]:
    """The captions with words put in, and "a" or "an" set right before them."""
    out = list(captions)
    for (number, start, _), word in sorted(zip(places, words, strict=True), key=lambda one: -one[0][1]):
        before, rest = out[number][:start], out[number][start:]
        article = before.split()[-1] if before.split() else ""
        if article.lower() in ("a", "an"):
            right = "an" if word[0] in "aeiou" else "a"
            right = right.capitalize() if article[0].isupper() else right
            before = before.rstrip()[: -len(article)] + right + " "
        out[number] = f"{before}{word} {rest}"
    return out
