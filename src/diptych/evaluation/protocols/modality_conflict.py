"""A picture with the name of another class painted on it: how often does the word win over what is shown?

Each picture is classified by its nearest class name as it is; with another class's name painted on it (`conflicting_`),
with its own (`agreeing_`), and with the letters of that other name in an order that is no name (`scrambled_`), which
tells what the band alone costs.

    word_wins       = share of pictures taken for the class whose name is painted on them
    word_wins_plain = the same share without the word: how often that class would have won anyhow

Use it to see how far a model reads. One that was never trained on pictures of words cannot, and should be near
`word_wins_plain`.

Source: Goh et al. 2021 (Distill, "Multimodal neurons"), Materzyńska et al. 2022 (arXiv 2206.07835). Words, place and
size are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.data.images import decode_image
from diptych.data.painted_words import paint_word
from diptych.evaluation.bench import Bench
from diptych.evaluation.classification import class_embeddings
from diptych.evaluation.measured import Found, Measured, Shown
from diptych.evaluation.prompts import named, templates_of

CHUNK = 256
SHOWN = 12


def measure(
    bench: Bench,
    *,
    label: str = "label",
    templates: str | list[str] = "photo",
    height: float = 0.2,
    most: int = 500,
    seed: int = 0,
) -> Measured:
    """`word_wins`, accuracy as it is, and accuracy with an agreeing, a conflicting and a scrambled word.

    Args:
        bench: a table with labels; rows without one are left out.
        label: the column of labels.
        templates: sentences with `{}`, the name of a set, or a file beside the table.
        height: of the band with the word, a share of the picture's.
        most: pictures measured; of more, so many are drawn by the seed.
        seed: of the draw, of the words and of their scrambling.

    Raises:
        ValueError: if the table has no such column, or fewer than two classes.
    """
    names, numbers = named(bench.labels(label), None)
    if len(names) < 2:
        raise ValueError(f"column {label!r} has one class; a word of another is needed")
    random = np.random.default_rng(seed)
    rows = np.flatnonzero(np.array(numbers) >= 0)
    if len(rows) > most:
        rows = np.sort(random.choice(rows, most, replace=False))
    own = torch.tensor(numbers)[torch.from_numpy(rows)]
    painted = (own + torch.from_numpy(random.integers(1, len(names), len(rows)))) % len(names)
    sentences = templates_of(templates, bench.file)
    classes = class_embeddings(lambda texts: bench.texts(texts).dense, names, sentences)
    scrambled = [_scrambled(names[word], random) for word in painted.tolist()]
    written: dict[str, Callable[[int], str]] = {
        "agreeing": lambda i: names[int(own[i])],
        "conflicting": lambda i: names[int(painted[i])],
        "scrambled": lambda i: scrambled[i],
    }
    plain = _nearest(bench.image[torch.from_numpy(rows)], classes)
    items = {"accuracy": (plain == own).double(), "word_wins_plain": (plain == painted).double()}
    taken = {}
    for name, word in written.items():
        taken[name] = _nearest(_with_words(bench, rows, word, height), classes)
        items[f"{name}_accuracy"] = (taken[name] == own).double()
    items["word_wins"] = (taken["conflicting"] == painted).double()
    found = {name: float(values.mean()) for name, values in items.items()}
    notes = [f"{len(rows):,} pictures of {len(names):,} classes; a band of {height:.0%} of the height at the foot"]
    if left_out := len(bench) - int((torch.tensor(numbers) >= 0).sum()):
        notes.append(f"{left_out:,} images without a label are left out")
    fooled = (items["word_wins"] > 0).nonzero()[:SHOWN, 0].tolist()
    shown = [
        Shown([Found(1.0, False, text=names[int(painted[i])])], f"{names[int(own[i])]}, painted on", int(rows[i]))
        for i in fooled
    ]
    return Measured(found, dict.fromkeys(found, 1 / len(names)), items, shown=shown, notes=notes)


def _nearest(images: Embedding, classes: Tensor) -> Tensor:
    """`[n]`: the class each picture is taken for; -1 where two are equally near."""
    best, answer = (images.dense @ classes.T).max(1)
    tied = (images.dense @ classes.T == best[:, None]).sum(1) > 1
    return answer.masked_fill(tied, -1)


def _with_words(bench: Bench, rows: Sequence[int] | np.ndarray, word: Callable[[int], str], height: float) -> Embedding:
    parts = []
    for start in range(0, len(rows), CHUNK):
        made = []
        for i in range(start, min(start + CHUNK, len(rows))):
            picture = decode_image(bench.table[int(rows[i])]["image"], mode="RGB")
            made.append(paint_word(picture, word(i), height=height))
        parts.append(bench.images(made))
    return Embedding.cat(parts)


def _scrambled(word: str, random: np.random.Generator) -> str:
    """The letters in another order; of a word of one letter, twice that letter."""
    letters = list(word)
    for _ in range(10):
        random.shuffle(letters)
        if "".join(letters) != word and "".join(letters).strip():
            return "".join(letters)
    return word * 2
