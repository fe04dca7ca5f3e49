"""Concept association bias: asked for the colour of one product of two, is that of the other named? CLIP's recipe."""

from __future__ import annotations

from functools import cache

from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.bench import Bench
from diptych.evaluation.protocols.concept_association import measure
from diptych.experiments.reproduction import Reproduction
from diptych.models.opened import open_model
from reproducing import DATA, pretrained_towers, reproduce, trained

BUDGET = ["--width", "256", "--batch-size", "250", "--epochs", "20", "--lr", "1e-3", "--weight-decay", "0.5"]
FASHION = DATA / "fashion_products"
QUESTIONS = 500


@cache
def numbers(seed: int) -> dict[str, float]:
    """All figures of the model trained with a seed; the questions are the same for every seed."""
    run = trained("clip-of-fashion", "clip", *pretrained_towers(), *BUDGET, seed=seed, data=FASHION)
    rows = select_split(holdout(open_table(str(FASHION))), "test")
    bench = Bench(open_model(run).model, rows)
    prompt = "{quality} {thing}"
    asked = {"thing": "attributes.articleType", "quality": "attributes.baseColour", "prompt": prompt}
    return measure(bench, **asked, questions=QUESTIONS, seed=0).numbers


def strength(name: str):
    """The bias where the other thing's colour is its own by nature, or not."""

    def arm(seed: int) -> dict[str, float]:
        found = numbers(seed)
        shared = {figure: found[figure] for figure in ("own", "other", "single_accuracy")}
        return {"cab": found["cab" if name == "all" else f"cab_{name}"], **shared}

    return arm


REPRODUCTION = Reproduction(
    name="concept_association",
    system=207,
    claim="asked for the colour of one of two things, CLIP names that of the other where thing and colour are "
    "strongly associated, and not where they are weakly: share of answers that name the other's",
    here="two products set side by side; strong is where at least half of the test products of the other kind "
    "have its colour. `cab` is other / (own + other), ours in place of the paper's score. CLIP's linear "
    "projections of frozen MobileNetV2 and MiniLM, trained on product names for 20 epochs, asked by 'COLOUR "
    "KIND'; natural colours of fruit, as the paper's, are not in this data",
    arms={"strong": strength("strong"), "weak": strength("weak"), "all": strength("all")},
    method="strong",
    baseline="weak",
    figure="cab",
    data=f"fashion_products, test: {QUESTIONS} questions of 311 products",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
