"""Objectives: one idea a file."""

from diptych.objectives.infonce import InfoNCE
from diptych.objectives.sigmoid import Sigmoid

__all__ = ["InfoNCE", "Sigmoid"]
