"""Objectives: one idea a file."""

from diptych.objectives.infonce import InfoNCE

__all__ = ["InfoNCE"]
