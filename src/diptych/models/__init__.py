"""Models: towers put together, and checkpoints."""

from diptych.models.checkpoint import load, save
from diptych.models.dual import Towers, dual_encoder

__all__ = ["Towers", "dual_encoder", "load", "save"]
