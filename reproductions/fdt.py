"""FDT's embeddings mixed of a shared codebook against CLIP's pooled ones, on the same frozen towers, Flickr8k."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from diptych.core import Model
from diptych.data.pairs import prepare
from diptych.data.sources import holdout, open_table, select_split
from diptych.encoders import CodebookHead
from diptych.experiments.reproduction import Reproduction
from diptych.models.embed import with_frozen_features
from diptych.models.opened import open_model
from diptych.recipes.lexical import fdt
from reproducing import FLICKR8K, measured, pretrained_towers, reproduce, trained

BUDGET = ["--width", "256", "--batch-size", "250", "--epochs", "5", "--lr", "1e-3", "--weight-decay", "0.5"]
CODES = 256
TOKENS = str(Path(__file__).parent / "recipes" / "fdt_tokens.py")
AT_ONCE = 1_000


def arm(name: str, recipe: str, *flags: str):
    """Train a codebook with a seed, and measure it on the test split."""

    def measure(seed: int) -> dict[str, float]:
        flagged = [*pretrained_towers(), *BUDGET, "--codes", str(CODES), *flags]
        run = trained(f"fdt-{name}", recipe, *flagged, seed=seed)
        return measured(run, scorer="dot") | used(run)

    return measure


def clip(*flags: str):
    """Pooled features, projected."""
    return lambda seed: measured(trained("fdt-clip", "clip", *pretrained_towers(), *BUDGET, *flags, seed=seed))


def used(run: Path) -> dict[str, float]:
    """How many codes a row has, and all rows together; how much a picture and its caption share of their codes."""
    model = open_model(run).model
    pairs = prepare(select_split(holdout(open_table(str(FLICKR8K))), "test"), model.processors)
    pairs = with_frozen_features(model, pairs)
    image = weights(model, "image", pairs)
    text = weights(model, "text", pairs)[torch.from_numpy(pairs.keys.offsets[: len(image)]).long()]
    other = text.roll(1, 0)
    return {
        "image codes": float((image > 0).sum(1).float().mean()),
        "text codes": float((text > 0).sum(1).float().mean()),
        "codes in use": float(((image > 0).any(0) | (text > 0).any(0)).sum()),
        "shared with its caption": float(torch.minimum(image, text).sum(1).mean()),
        "shared with another's": float(torch.minimum(image, other).sum(1).mean()),
    }


@torch.inference_mode()
def weights(model: Model, view: str, pairs) -> Tensor:
    """`[N, codes]` of a view's rows."""
    head = cast(CodebookHead, cast(nn.ModuleDict, model.heads[view])["dense"])
    rows, found = pairs.views[view], []
    for some in np.array_split(np.arange(len(rows)), -(-len(rows) // AT_ONCE)):
        found.append(head.weights(model.features(view, rows.take(some))))
    return torch.cat(found)


REPRODUCTION = Reproduction(
    name="fdt",
    system=121,
    claim=f"{fdt.CLAIM.better}, against {fdt.CLAIM.than}: {fdt.CLAIM.metric}",
    here=f"{CODES} codes over the tokens of frozen MobileNetV2 (5 x 5 patches) and MiniLM, trained for 5 "
    "epochs, where the paper has 16,384 codes, whole towers and 15M pairs and more, and lowers the "
    "sparsemax's temperature as it trains: here it stays at 10 or at 1. CLIP's arm projects the pooled "
    "features linearly; FDT's queries are an MLP, so an arm of CLIP has one too. Retrieval alone",
    arms={
        "fdt": arm("tokens", TOKENS),
        "clip": clip(),
        "clip, mlp": lambda seed: measured(
            trained("fdt-clip-mlp", "clip", *pretrained_towers(), *BUDGET, "--hidden", "256", seed=seed)
        ),
        "fdt, sharper": arm("sharper", TOKENS, "--code-temperature", "1"),
        "fdt, pooled": arm("pooled", "fdt"),
    },
    method="fdt",
    baseline="clip",
    figure="t2i_recall@1",
    data="flickr8k, official split, test: 1,000 images, 5,000 captions",
)

if __name__ == "__main__":
    reproduce(REPRODUCTION)
