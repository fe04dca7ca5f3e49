"""Scorers: one idea a file."""

from diptych.scoring.dot import Dot
from diptych.scoring.lexical import Lexical, SharedWord

__all__ = ["Dot", "Lexical", "SharedWord"]
