"""Scorers: one idea a file."""

from diptych.scoring.dot import Dot

__all__ = ["Dot"]
