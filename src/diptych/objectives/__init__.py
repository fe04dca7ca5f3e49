"""Objectives: one idea a file."""

from diptych.objectives.distillation import Distillation
from diptych.objectives.feature_distillation import FeatureDistillation
from diptych.objectives.infonce import InfoNCE
from diptych.objectives.momentum_infonce import MomentumInfoNCE
from diptych.objectives.pair_distillation import PairDistillation

__all__ = ["Distillation", "FeatureDistillation", "InfoNCE", "MomentumInfoNCE", "PairDistillation"]
