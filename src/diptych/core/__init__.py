"""The nouns of Diptych: types only, no input or output.

A table becomes a `Batch` of views; a `Model` says of every view an `Embedding`; a `Pairing`
shows an `Objective` (or a `Scorer`) all that it may see.
"""

from diptych.core.batch import Batch
from diptych.core.embedding import Embedding, Features, Tokens
from diptych.core.encoder import Encoder
from diptych.core.model import Model, Route
from diptych.core.objective import Example, Needs, Objective, Total
from diptych.core.pairing import Pairing, PairScores
from diptych.core.scorer import Scorer
from diptych.core.teacher import Teacher

__all__ = [
    "Batch",
    "Embedding",
    "Encoder",
    "Example",
    "Features",
    "Model",
    "Needs",
    "Objective",
    "PairScores",
    "Pairing",
    "Route",
    "Scorer",
    "Teacher",
    "Tokens",
    "Total",
]
