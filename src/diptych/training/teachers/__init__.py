"""Teachers: one a file. Give one to a phase; its objectives find what it says in `pairing.teacher`."""

from diptych.training.teachers.cross_encoder import CrossEncoder
from diptych.training.teachers.ema import EMA
from diptych.training.teachers.frozen import Frozen, share_processors
from diptych.training.teachers.matcher import Matcher
from diptych.training.teachers.old_codes import OldCodes, save_codes
from diptych.training.teachers.queue import Queue
from diptych.training.teachers.stored import Stored

__all__ = ["EMA", "CrossEncoder", "Frozen", "Matcher", "OldCodes", "Queue", "Stored", "save_codes", "share_processors"]
