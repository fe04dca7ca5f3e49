"""VDR's space of the vocabulary against a dense bi-encoder of the same towers, Flickr8k."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.evaluate import evaluate
from diptych.experiments.reproduction import Reproduction
from diptych.models.opened import open_model
from diptych.recipes.lexical import vdr
from reproducing import FLICKR8K, measured, own_text_tower, reproduce, trained

BUDGET = ["--batch-size", "200", "--epochs", "6", "--lr", "1e-3", "--weight-decay", "0.1"]
WORDS = 2000
TOP = 10
FREQUENT = 50


def run(name: str, recipe: str, *flags: str, seed: int) -> Path:
    """A recipe on these towers, trained with a seed."""
    return trained(f"vdr-{name}", recipe, *own_text_tower(words=WORDS), *BUDGET, *flags, seed=seed)


def clip(width: int):
    """Dense vectors."""
    return lambda seed: measured(run(f"clip{width}", "clip", "--width", str(width), seed=seed))


def arm(name: str, scorer: str, *flags: str):
    """Words, compared by a scorer: `"lexical"`, or `"bag"` for texts of which only the words they have count."""

    def measure(seed: int) -> dict[str, float]:
        model = open_model(run(name, "vdr", *flags, seed=seed)).model
        rows = select_split(holdout(open_table(str(FLICKR8K))), "test")
        done = evaluate(model, rows, scorer=scorer)
        image, text, bag = (done.image.vectors["lexical"], done.text.vectors["lexical"], done.text.vectors["bag"])
        return done.flat() | {
            "image words": float((image > 0).sum(1).float().mean()),
            "text words": float(((bag if scorer == "bag" else text) > 0).sum(1).float().mean()),
            f"precision of {TOP} words": precision(image, bag > 0, torch.from_numpy(done.pairs.keys.owner)),
        }

    return measure


def precision(image: Tensor, bag: Tensor, owner: Tensor) -> float:
    """How often a picture's heaviest words are in a caption of it; the words most frequent in captions do not count."""
    own = torch.zeros(image.shape, dtype=torch.long).index_add(0, owner, bag.long()) > 0
    telling = image.clone()
    telling[:, bag.sum(0).topk(FREQUENT).indices] = 0
    return float(own.gather(1, telling.topk(TOP).indices).float().mean())


REPRODUCTION = Reproduction(
    name="vdr",
    system=301,
    claim=f"{vdr.CLAIM.better}, against {vdr.CLAIM.than}: {vdr.CLAIM.metric}",
    here=f"a frozen MobileNetV2's pooled features and a text tower of two blocks trained from nothing with "
    f"{WORDS:,} tokens of the captions, 6 epochs of 6,000 pairs; the paper trains ViT and BERT, of 30,522 "
    "tokens, on 15M pairs, and measures on other collections. The first arm keeps the paper's 768 words a "
    "row, which is over a third of all here; precision is of an image's 10 heaviest tokens but for "
    f"the {FREQUENT} most frequent of the captions",
    arms={
        "vdr": arm("768", "lexical"),
        "clip, 256 wide": clip(256),
        f"clip, {WORDS} wide": clip(WORDS),
        "vdr, bags of words ask": arm("768", "bag"),
        "vdr, 64 words": arm("64", "lexical", "--topk", "64"),
    },
    method="vdr",
    baseline="clip, 256 wide",
    figure="t2i_recall@1",
    data="flickr8k, official split, test: 1,000 images, 5,000 captions",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
