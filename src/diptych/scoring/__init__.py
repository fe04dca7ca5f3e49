"""Scorers: one idea a file."""

from diptych.scoring.compatible import Compatible
from diptych.scoring.dot import Dot
from diptych.scoring.hamming import Hamming, hamming_distances

__all__ = ["Compatible", "Dot", "Hamming", "hamming_distances"]
