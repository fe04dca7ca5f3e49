"""Objectives: one idea a file."""

from diptych.objectives.bit_balance import BitBalance
from diptych.objectives.bit_decorrelation import BitDecorrelation
from diptych.objectives.distillation import Distillation
from diptych.objectives.feature_distillation import FeatureDistillation
from diptych.objectives.infonce import InfoNCE
from diptych.objectives.momentum_infonce import MomentumInfoNCE
from diptych.objectives.pair_distillation import PairDistillation
from diptych.objectives.quantization import Quantization
from diptych.objectives.sigmoid import Sigmoid

__all__ = [
    "BitBalance",
    "BitDecorrelation",
    "Distillation",
    "FeatureDistillation",
    "InfoNCE",
    "MomentumInfoNCE",
    "PairDistillation",
    "Quantization",
    "Sigmoid",
]
