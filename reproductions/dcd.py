"""DCD: a dual encoder taught by a cross-encoder, with hard negatives of the teacher and weights, and without; Flickr8k.

The teacher (`albef_matching`) is trained once a seed; the cross-encoder's own figures, over everything and over a
dual encoder's best 20, are measured on every 25th caption, as reading 5,000,000 pairs takes too long.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import torch

from diptych.core.embedding import Embedding
from diptych.core.scorer import Scorer
from diptych.data.pairs import prepare
from diptych.data.sources import holdout, open_table, select_split
from diptych.evaluation.retrieval import retrieve
from diptych.experiments.reproduction import Reproduction
from diptych.models.embed import embed, with_frozen_features
from diptych.models.opened import open_model
from diptych.recipes.distillation import dcd
from reproducing import FLICKR8K, measured, pretrained_towers, reproduce, trained

WIDTH = ["--width", "128"]
STUDENT = [*WIDTH, "--batch-size", "250", "--epochs", "2", "--lr", "2e-3", "--weight-decay", "0.5"]
TEACHER = [*WIDTH, "--batch-size", "250", "--epochs", "3", "--lr", "1e-3", "--weight-decay", "0.1"]
FUSION = ["--fusion-width", "128", "--fusion-depth", "2", "--sharpness", "0", "--residual", "true"]
DISTILLED_ALIKE = str(Path(__file__).parent / "recipes" / "pair_distilled.py")
EVERY = 25


def teacher(seed: int) -> Path:
    """The run of the cross-encoder."""
    return trained("dcd-teacher", "albef_matching", *pretrained_towers(), *TEACHER, *FUSION, seed=seed)


def alone(seed: int) -> dict[str, float]:
    """A dual encoder that nobody teaches."""
    return measured(trained("dcd-alone", "clip", *pretrained_towers(), *STUDENT, seed=seed))


def taught(name: str, recipe: str, *more: str):
    """A dual encoder taught by the cross-encoder."""

    def arm(seed: int) -> dict[str, float]:
        flags = [*pretrained_towers(), *STUDENT, "--teacher", str(teacher(seed)), "--others", "5", *more]
        return measured(trained(f"dcd-{name}", recipe, *flags, seed=seed))

    return arm


def by_itself(part: str):
    """The cross-encoder's model ranked by one of its parts, on some captions; and how long a caption takes."""

    def arm(seed: int) -> dict[str, float]:
        opened = open_model(teacher(seed))
        text, image, text_keys, image_keys = embedded(seed)
        scorer = opened.model.parts[part].eval()
        assert isinstance(scorer, Scorer)
        with torch.autocast("cpu", torch.bfloat16):
            begun = time.perf_counter()
            report = retrieve(text, image, text_keys, image_keys, scorer)
        return {**report.flat("t2i"), "seconds_a_query": (time.perf_counter() - begun) / len(text)}

    return arm


@cache
def embedded(seed: int) -> tuple[Embedding, Embedding, torch.Tensor, torch.Tensor]:
    """Every 25th caption and all images of the test split by the teacher's towers, and their keys."""
    model = open_model(teacher(seed)).model
    pairs = prepare(select_split(holdout(open_table(str(FLICKR8K))), "test"), model.processors)
    pairs = with_frozen_features(model, pairs)
    text, image = (embed(model, view, pairs.views[view]) for view in ("text", "image"))
    some = torch.arange(0, len(text), EVERY)
    return text[some], image, torch.from_numpy(pairs.keys.text)[some], torch.from_numpy(pairs.keys.image)


REPRODUCTION = Reproduction(
    name="dcd",
    system=11,
    claim=f"{dcd.CLAIM.better}, against {dcd.CLAIM.than}: {dcd.CLAIM.metric}",
    here="linear projections of frozen MobileNetV2 and MiniLM, and a cross-encoder of two blocks over their "
    "tokens (5 x 5 patches, words), trained for 3 epochs, students for 2; the cross-encoder's logit is added "
    "to its dual encoder's score and learns from negatives drawn evenly, as alone it learns nothing in that "
    "time. The student is a dual encoder, the paper's a smaller cross-encoder. The cross-encoder's own arms "
    "ask every 25th caption, in bf16 on one core; seconds are reported, not judged",
    arms={
        "alone": alone,
        "distilled alike": taught("alike", DISTILLED_ALIKE),
        "dcd": taught("dcd", "dcd", "--hard", "3"),
        "its dual encoder, some": by_itself("dot"),
        "cascade of 20, some": by_itself("cascade"),
        "cross-encoder, some": by_itself("matching"),
    },
    method="dcd",
    baseline="distilled alike",
    figure="t2i_recall@1",
    data="flickr8k, official split, test: 1,000 images, 5,000 captions",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
