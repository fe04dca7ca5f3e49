"""Scorers: one idea a file."""

from diptych.scoring.dot import Dot
from diptych.scoring.late_interaction import LateInteraction
from diptych.scoring.token_pooling import pool_tokens

__all__ = ["Dot", "LateInteraction", "pool_tokens"]
