"""How each kind of space lies on a cluster, and how its vectors go there and come back.

The same as in process (`diptych.search.stored`): a byte a bit under the Manhattan distance for codes, MaxSim
without a graph for tokens. Originals lie on the disks; graphs and small copies are in memory.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from qdrant_client import models

from diptych.search.manifest import FieldType
from diptych.search.spaces import Distance, Quantization, Space
from diptych.search.stored import EF, OVERSAMPLING
from diptych.search.vectors import Codes, Float32, Sparse, Vector

RemoteVector = list[float] | list[list[float]] | models.SparseVector

_DISTANCES: dict[Distance, models.Distance] = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "hamming": models.Distance.MANHATTAN,
}
_QUANTIZED: dict[Quantization, models.QuantizationConfig] = {
    "scalar": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    ),
    "product": models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=True)
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
}
FIELD_TYPES: dict[FieldType, models.PayloadSchemaType] = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
    "datetime": models.PayloadSchemaType.DATETIME,
    "text": models.PayloadSchemaType.TEXT,
}
# A float32 written as JSON, and a term's number or a bit with its comma.
_FLOAT_BYTES, _TERM_BYTES, _BIT_BYTES = 22, 12, 4


def dense_params(spaces: Mapping[str, Space]) -> dict[str, models.VectorParams]:
    """The cluster's settings of every space but the lexical ones."""
    return {name: _params(space) for name, space in spaces.items() if space.kind != "lexical"}


def sparse_params(spaces: Mapping[str, Space]) -> dict[str, models.SparseVectorParams]:
    """The cluster's settings of the lexical spaces."""
    return {name: models.SparseVectorParams() for name, space in spaces.items() if space.kind == "lexical"}


def search_params(space: Space, *, exact: bool, ef: int | None = None) -> models.SearchParams:
    """How to search a space; `exact` leaves graph and small copies aside, `ef` says how widely a graph is walked."""
    ef = ef or EF
    if space.quantization is None or exact:
        # Small copies would be searched even then, were they not passed over.
        passed_over = models.QuantizationSearchParams(ignore=True) if space.quantization else None
        return models.SearchParams(exact=exact, hnsw_ef=ef, quantization=passed_over)
    oversampling = OVERSAMPLING[space.quantization]
    return models.SearchParams(
        hnsw_ef=ef, quantization=models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
    )


def to_remote(space: Space, row: Any) -> RemoteVector:
    """One row that was checked, as the cluster takes it."""
    if space.kind == "lexical":
        sparse = cast(Sparse, row)
        return models.SparseVector(
            indices=np.asarray(sparse.indices).tolist(), values=np.asarray(sparse.values).tolist()
        )
    if space.kind == "code":
        return np.unpackbits(cast(Codes, row), count=space.size).astype(np.float32).tolist()
    return cast(Float32, row).tolist()


def from_remote(space: Space, kept: Any) -> Vector:
    """One row as it was checked, from what the cluster keeps."""
    if space.kind == "lexical":
        return Sparse(np.array(kept.indices, np.uint32), np.array(kept.values, np.float32))
    if space.kind == "code":
        return np.packbits(np.array(kept, np.uint8))
    return np.array(kept, np.float32)


def bytes_sent(space: Space, row: Any) -> int:
    """About how many bytes one row has on its way."""
    if isinstance(row, Sparse):
        return (_FLOAT_BYTES + _TERM_BYTES) * np.asarray(row.indices).size
    return space.size * _BIT_BYTES if space.kind == "code" else row.size * _FLOAT_BYTES


def _params(space: Space) -> models.VectorParams:
    """The cluster's settings of a space that is not lexical."""
    comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    return models.VectorParams(
        size=space.size,
        distance=_DISTANCES[space.distance],
        on_disk=True,
        multivector_config=comparator if space.kind == "late" else None,
        datatype=models.Datatype.UINT8 if space.kind == "code" else None,
        quantization_config=None if space.quantization is None else _QUANTIZED[space.quantization],
        # Without edges there is no graph: every row is compared.
        hnsw_config=models.HnswConfigDiff(m=0) if space.exact else None,
    )
