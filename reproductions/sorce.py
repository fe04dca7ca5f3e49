"""SORCE: several embeddings an image against one, by how large the things are that a caption names; COCO mini.

Trained on Flickr8k, measured on the test pictures of COCO mini that have boxes: a caption counts for the area of the
smallest thing that it names, as a share of the picture (of several of one kind the largest).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from diptych.core.scorer import Scorer
from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.evaluate import evaluate
from diptych.experiments.reproduction import Reproduction
from diptych.models.opened import open_model
from diptych.recipes.region import sorce
from reproducing import DATA, pretrained_towers, reproduce, trained

BUDGET = ["--width", "256", "--batch-size", "500", "--epochs", "10", "--lr", "1e-3", "--weight-decay", "0.5"]
COCO = DATA / "coco_mini"
SMALL, LARGE = 0.02, 0.2
PLURALS = {"person": ("people", "man", "woman", "men", "women", "boy", "girl", "child", "children")}


def smallest_named(text: str, boxes: Sequence[Any]) -> float | None:
    """The share of the picture that the smallest thing takes which a caption names; None if it names none."""
    words = " " + "".join(c if c.isalpha() else " " for c in text.lower()) + " "
    areas: dict[str, float] = {}
    for box in boxes:
        x0, y0, x1, y1 = box["xyxy_norm"]
        areas[box["label"]] = max(areas.get(box["label"], 0.0), (x1 - x0) * (y1 - y0))
    named = [area for label, area in areas.items() if any(f" {name} " in words for name in names_of(label))]
    return min(named, default=None)


def names_of(label: str) -> tuple[str, ...]:
    """How captions call it."""
    return (label, f"{label}s", f"{label}es", *PLURALS.get(label, ()))


def arm(recipe: str, part: str):
    """Train a recipe on Flickr8k with a seed, and measure one of its scorers on COCO mini, by area."""

    def measure(seed: int) -> dict[str, float]:
        opened = open_model(trained(f"{recipe}-of-ten", recipe, *pretrained_towers(), *BUDGET, seed=seed))
        scorer = opened.model.parts[part]
        assert isinstance(scorer, Scorer)
        rows = select_split(holdout(open_table(str(COCO))), "test")
        rows = rows.select([i for i, boxes in enumerate(rows["boxes"]) if boxes])
        done = evaluate(opened.model, rows, scorer=part)
        report, table = done.retrieval["text_to_image"], done.pairs.table
        texts = [(text, boxes) for own, boxes in zip(table["text"][:], table["boxes"][:], strict=True) for text in own]
        areas = torch.tensor([-1.0 if (a := smallest_named(*one)) is None else a for one in texts])
        buckets = {
            "small": (areas >= 0) & (areas < SMALL),
            "medium": (areas >= SMALL) & (areas < LARGE),
            "large": areas >= LARGE,
        }
        figures = {}
        for name, those in buckets.items():
            ranks = report.best_rank[those]
            figures |= {f"{name}_recall@{k}": float(((ranks > 0) & (ranks <= k)).float().mean()) for k in (1, 5, 10)}
            figures[f"{name}_captions"] = float(those.sum())
        return {**figures, **done.flat()}

    return measure


REPRODUCTION = Reproduction(
    name="sorce",
    system=252,
    claim=f"{sorce.CLAIM.better}, against {sorce.CLAIM.than}: {sorce.CLAIM.metric}",
    here="means of frozen MobileNetV2 tokens over 2 x 2 overlapping parts and over all, in place of a language "
    "model's answers to regional prompts; heads trained on Flickr8k for 10 epochs, measured on COCO. Captions "
    f"name things by COCO's labels; small is below {SMALL:.0%} of the picture. They are captions of the whole "
    "picture, not descriptions of the small thing alone, as the paper's queries are",
    arms={
        "sorce": arm("sorce", "parts"),
        "its one vector": arm("sorce", "dot"),
        "clip": arm("clip", "dot"),
    },
    method="sorce",
    baseline="clip",
    figure="small_recall@5",
    data="coco_mini, test pictures with boxes, all of their captions",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
