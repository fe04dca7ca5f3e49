"""FDT over the tokens of frozen towers, as the paper has it; the recipe `fdt` reads the pooled features of these."""

from __future__ import annotations

from typing import cast

from torch import nn

from diptych.encoders import CodebookHead
from diptych.models import Towers
from diptych.models.token_heads import token_width
from diptych.recipes.lexical import fdt
from diptych.training.recipe import Recipe, Schedule


def recipe(
    towers: Towers = Towers(),  # noqa: B008 (frozen)
    schedule: Schedule = Schedule(),  # noqa: B008
    *,
    codes: int = 1024,
    code_temperature: float = 10.0,
) -> Recipe:
    """As `fdt`, of every token.

    Args:
        towers: which towers.
        schedule: how long and how fast.
        codes: vectors of the codebook.
        code_temperature: of the sparsemax.
    """
    built = fdt.recipe(towers, schedule, codes=codes, code_temperature=code_temperature)
    for view in ("image", "text"):
        heads = cast(nn.ModuleDict, built.model.heads[view])
        book = cast(CodebookHead, heads["dense"]).codebook
        heads["dense"] = CodebookHead(token_width(built.model, view), book, temperature=code_temperature)
    return built
