"""LexVLA's overuse penalty against FLOPS, at weights that leave about as many words a row, Flickr8k."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import torch

from diptych.data.sources import holdout, open_table, select_split
from diptych.encoders import WordHead
from diptych.evaluation.evaluate import evaluate
from diptych.experiments.reproduction import Reproduction
from diptych.models.opened import open_model
from diptych.recipes.lexical import lexvla
from reproducing import FLICKR8K, ROOT, RUNS, pretrained_towers, reproduce, trained

BUDGET = ["--batch-size", "500", "--epochs", "10", "--lr", "1e-3", "--weight-decay", "0.1"]
LEAST = 5
"""Captions that a word must be in."""
TOP = 10


def words_in(text: str) -> list[str]:
    """Its words in lower case."""
    return re.findall(r"[a-z]+", text.lower())


def caption_words() -> Path:
    """A file of the training captions' words that are in `LEAST` of them or more, the most frequent first."""
    file = RUNS / "flickr8k_words.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    table = select_split(holdout(open_table(str(FLICKR8K))), "train")
    counts = Counter(word for texts in table["text"][:] for text in texts for word in set(words_in(text)))
    file.write_text("\n".join(word for word, count in counts.most_common() if count >= LEAST))
    return file


def arm(name: str, recipe: str, *flags: str):
    """Train a recipe with a seed, and measure its words on the test split."""

    def measure(seed: int) -> dict[str, float]:
        words = str(caption_words())
        return words_measured(trained(name, recipe, *pretrained_towers(), *BUDGET, "--words", words, *flags, seed=seed))

    return measure


def words_measured(run: Path) -> dict[str, float]:
    """Recall; words a row; in how many rows the most used word is; whether an image's words are its captions'.

    Precision is of the `TOP` heaviest words of an image that are not among the 50 most frequent of the captions, which
    nearly every image would have right.
    """
    model = open_model(run).model
    rows = select_split(holdout(open_table(str(FLICKR8K))), "test")
    done = evaluate(model, rows, scorer="lexical")
    image, text = done.image.vectors["lexical"], done.text.vectors["lexical"]
    head = model.heads["image"]["lexical"]  # type: ignore[index]
    assert isinstance(head, WordHead)
    words = list(head.codebook.words)
    own = [{word for caption in captions for word in words_in(caption)} for captions in done.pairs.table["text"][:]]
    telling = image.clone()
    telling[:, :50] = 0
    top = telling.topk(TOP).indices.tolist()
    right = [word in mine for rank, mine in zip(top, own, strict=True) for word in (words[v] for v in rank)]
    figures = done.flat()
    return {
        "t2i_recall@1": figures["t2i_recall@1"],
        "i2t_recall@1": figures["i2t_recall@1"],
        "t2i_recall@10": figures["t2i_recall@10"],
        "image words": float((image > 0).sum(1).float().mean()),
        "text words": float((text > 0).sum(1).float().mean()),
        "images with the most used word": float((image > 0).float().mean(0).max()),
        "largest mean weight of a word": float(image.mean(0).max()),
        "weight of 'a'": float(image[:, words.index("a")].mean()),
        f"precision of {TOP} words": float(torch.tensor(right).float().mean()),
    }


FLOPS_RECIPE = str(ROOT / "reproductions" / "recipes" / "lexvla_flops.py")

REPRODUCTION = Reproduction(
    name="lexvla",
    system=298,
    claim=f"{lexvla.CLAIM.better}, against {lexvla.CLAIM.than}: {lexvla.CLAIM.metric}",
    here="MLPs on frozen pooled features of MobileNetV2 and MiniLM to the 2,525 words of 5 training "
    "captions or more, each word's vector MiniLM's own of it; FLOPS and the penalty have "
    "weights that leave about as many "
    "words a test image (131 and 119). What is compared is R@1 at like sparsity; the other "
    "figures say how words are used. The "
    "paper tunes Llama 2 and a codebook on 12M pairs",
    arms={
        "overuse": arm("lexvla-2", "lexvla", "--overuse", "2"),
        "overuse, weight 3": arm("lexvla", "lexvla", "--overuse", "3"),
        "flops": arm("lexvla-flops", FLOPS_RECIPE, "--flops", "1"),
        "no penalty": arm("lexvla-none", "lexvla", "--overuse", "0"),
    },
    method="overuse",
    baseline="flops",
    figure="t2i_recall@1",
    data="flickr8k, official split, test: 1,000 images, 5,000 captions",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
