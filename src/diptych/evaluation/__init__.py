"""Measure what a model learned: retrieval, classification, its scores, its space, and the page that shows them.

Rankings lose ties; measures name what chance would get, and say what they could not measure. `evaluate`, `calibration`,
`geometry` and `transfer` are to be had from the modules of their names.
"""

from diptych.evaluation.calibration import Calibration, Reliability, fit_temperature, reliability
from diptych.evaluation.classification import (
    DEFAULT_TEMPLATES,
    ClassificationReport,
    class_embeddings,
    classify,
)
from diptych.evaluation.detection import Detection, detect, energy, max_logit, maximum_concept_matching
from diptych.evaluation.geometry import Geometry, PairSimilarity
from diptych.evaluation.graded import GradedReport, exponential_gain, retrieve_graded
from diptych.evaluation.languages import LanguageReport, by_language
from diptych.evaluation.report import Example, Hit, Report, Table, recall_table, write_html, write_json
from diptych.evaluation.retrieval import RetrievalReport, both_ways, retrieve
from diptych.evaluation.transfer import Transfer, harmonic_mean

__all__ = [
    "DEFAULT_TEMPLATES",
    "Calibration",
    "ClassificationReport",
    "Detection",
    "Example",
    "Geometry",
    "GradedReport",
    "Hit",
    "LanguageReport",
    "PairSimilarity",
    "Reliability",
    "Report",
    "RetrievalReport",
    "Table",
    "Transfer",
    "both_ways",
    "by_language",
    "class_embeddings",
    "classify",
    "detect",
    "energy",
    "exponential_gain",
    "fit_temperature",
    "harmonic_mean",
    "max_logit",
    "maximum_concept_matching",
    "recall_table",
    "reliability",
    "retrieve",
    "retrieve_graded",
    "write_html",
    "write_json",
]
