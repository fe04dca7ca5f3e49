"""Tell a caption from the same caption made wrong by one change of words, with the picture in view.

    accuracy = share of negatives with  score(picture, caption) > score(picture, negative)

Negatives are made of the table's own captions by `diptych.data.caption_negatives`: things, qualities and relations
swapped, replaced or put in. A tie is lost; a coin gets one half. The same is asked with another picture in place of the
caption's own (`blind_accuracy`): what exceeds one half there is owed to the words alone, since some negatives are odd.

Use it to see whether a model binds qualities to things or reads a bag of words. Its figures are not those of
SugarCrepe, whose negatives are written by a language model and filtered.

Source: Hsieh et al. 2023 (SugarCrepe, arXiv 2306.14610), for the task and its kinds; the rules and the blind figure are
ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diptych.core.embedding import Embedding
from diptych.data.caption_negatives import KINDS, Negative, NegativeKind, caption_negatives
from diptych.data.word_classes import learn_things
from diptych.evaluation.bench import Bench
from diptych.evaluation.measured import Found, Measured, Shown

SHOWN = 12


def measure(bench: Bench, *, kinds: Sequence[NegativeKind] = KINDS, least: int = 5, seed: int = 0) -> Measured:
    """Accuracy over all negatives (`accuracy`), of each kind, and without the picture (`blind_accuracy`).

    Args:
        bench: a table with English texts, two pictures or more.
        kinds: of negatives.
        least: pictures whose captions must name a thing for it to be used.
        seed: of the negatives, and of which other picture is shown.

    Raises:
        ValueError: if a kind is unknown, there are fewer than two pictures, or no rule applies to any caption.
    """
    if len(bench) < 2:
        raise ValueError(f"{len(bench)} picture: another one is needed to ask without the picture")
    captions = [list(own) for own in bench.table["text"][:]]
    things = learn_things(captions, least=least)
    made = caption_negatives(captions, things, kinds=kinds, seed=seed)
    if not made.found:
        raise ValueError(
            f"no rule of {list(kinds)} applies to any of {len(bench.captions):,} captions, in which "
            f"{len(things.count)} things were found: they must be English sentences"
        )
    images = torch.tensor([one.image for one in made.found])
    offsets = torch.from_numpy(bench.pairs.keys.offsets)
    caption = bench.text[offsets[images] + torch.tensor([one.text for one in made.found])]
    negative = bench.texts([one.negative for one in made.found])
    generator = torch.Generator().manual_seed(seed)
    others = (images + torch.randint(1, len(bench), (len(images),), generator=generator)) % len(bench)
    margin = _margin(bench, bench.image[images], caption, negative)
    right, blind = (margin > 0).double(), (_margin(bench, bench.image[others], caption, negative) > 0).double()
    numbers, items, clusters = {}, {}, {}
    for name, values in (("accuracy", right), ("blind_accuracy", blind)):
        items[name], clusters[name] = values, images
        for kind in kinds:
            of = torch.tensor([one.kind == kind for one in made.found])
            if of.any():
                items[f"{name}_{kind}"], clusters[f"{name}_{kind}"] = values[of], images[of]
    numbers = {name: float(values.mean()) for name, values in items.items()}
    notes = [f"{len(things.count):,} things were learned of the captions; negatives are made by rule, and unchecked"]
    notes += [
        f"{kind}: no rule applies to {len(lost):,} of {len(bench.captions):,} captions"
        for kind, lost in made.without.items()
        if lost
    ]
    shown = _shown(made.found, margin)
    return Measured(numbers, dict.fromkeys(numbers, 0.5), items, clusters=clusters, shown=shown, notes=notes)


@torch.inference_mode()
def _margin(bench: Bench, image: Embedding, caption: Embedding, negative: Embedding) -> Tensor:
    """`[n]`: by how much the caption's score exceeds the negative's."""
    return bench.scorer.pairs(image, caption) - bench.scorer.pairs(image, negative)


def _shown(found: Sequence[Negative], margin: Tensor) -> list[Shown]:
    """Those that a model gets wrong by most; the score shown is the margin."""
    worst = margin.argsort(stable=True)[:SHOWN].tolist()
    return [
        Shown(
            [Found(-float(margin[i]), False, text=found[i].negative), Found(0.0, True, text=found[i].caption)],
            text=f"{found[i].kind}: {found[i].caption}",
            image=found[i].image,
            rank=2,
        )
        for i in worst
        if margin[i] <= 0
    ]
