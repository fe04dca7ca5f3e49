"""Objectives: one idea a file."""

from diptych.objectives.distillation import Distillation
from diptych.objectives.feature_distillation import FeatureDistillation
from diptych.objectives.flops import FLOPS
from diptych.objectives.infonce import InfoNCE
from diptych.objectives.lexicon_bottleneck import LexiconBottleneck
from diptych.objectives.momentum_infonce import MomentumInfoNCE
from diptych.objectives.overuse import Overuse
from diptych.objectives.pair_distillation import PairDistillation
from diptych.objectives.sigmoid import Sigmoid

__all__ = [
    "FLOPS",
    "Distillation",
    "FeatureDistillation",
    "InfoNCE",
    "LexiconBottleneck",
    "MomentumInfoNCE",
    "Overuse",
    "PairDistillation",
    "Sigmoid",
]
