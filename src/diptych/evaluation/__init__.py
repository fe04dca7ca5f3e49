"""Measure what a model learned: retrieval, zero-shot classification, and the page that shows both.

Every measure loses ties, names what chance would get, and says what it could not measure.
"""

from diptych.evaluation.classification import (
    DEFAULT_TEMPLATES,
    ClassificationReport,
    class_embeddings,
    classify,
)
from diptych.evaluation.report import Example, Hit, Report, Table, recall_table, write_html, write_json
from diptych.evaluation.retrieval import RetrievalReport, both_ways, retrieve

__all__ = [
    "DEFAULT_TEMPLATES",
    "ClassificationReport",
    "Example",
    "Hit",
    "Report",
    "RetrievalReport",
    "Table",
    "both_ways",
    "class_embeddings",
    "classify",
    "recall_table",
    "retrieve",
    "write_html",
    "write_json",
]
