"""A model that `mteb` can run its tasks on, those of images too (MIEB): texts, images, and both fused.

    fused = unit(text + image)

Use it to place a model among published ones: `mteb.evaluate(MtebEncoder(model, name="me/mine"), tasks)`. No prompt is
put before a text. Needs the extra `diptych[mteb]`.

Sources: Muennighoff et al. 2023, MTEB, arXiv 2210.07316; Xiao et al. 2025, MIEB, arXiv 2504.10471.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta, ScoringFunction
from torch import Tensor
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.faces.sentence_encoder import SentenceEncoder
from diptych.models.checkpoint import fingerprint

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import BatchedInput, PromptType
    from torch.utils.data import DataLoader


class MtebEncoder(AbsEncoder):
    """A model as `mteb` wants it.

    Args:
        model: with a tower `"text"`, a tower `"image"`, or both; computes where it is.
        name: under which `mteb` keeps its results, `"organization/model"`.

    Attributes:
        mteb_model_meta: what `mteb` writes down of the model; the revision is its fingerprint, so that results of
            other weights are never taken for this model's.
    """

    def __init__(self, model: Model, *, name: str = "diptych/model") -> None:
        self.name = name
        self.model = SentenceEncoder(model)
        self.mteb_model_meta = _meta(model, name, self.model.get_sentence_embedding_dimension())

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Vectors `[N, D]`, float32, of unit length, of batches with `text`, `image` or both.

        Args:
            inputs: batches as `mteb` makes them; their size is the size of ours.
            task_metadata, hf_split, hf_subset, prompt_type, kwargs: as `mteb` gives them; they change nothing.

        Raises:
            ValueError: if a batch has neither, or the model has no tower for what it has.
        """
        return torch.cat([self._batch(batch) for batch in inputs])

    def _batch(self, batch: Any) -> Tensor:
        found = [list(batch[column]) for column in ("text", "image") if column in batch]
        if not found:
            raise ValueError(f"mteb gave columns {sorted(batch)}; this model takes 'text' and 'image'")
        vectors = [self.model.encode(items, len(items), convert_to_tensor=True) for items in found]
        return F.normalize(torch.stack([torch.as_tensor(one) for one in vectors]).sum(0), dim=-1)


def _meta(model: Model, name: str, width: int) -> ModelMeta:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelMeta(
        loader=None,
        name=name,
        revision=fingerprint(model),
        release_date=None,
        languages=None,
        n_parameters=parameters,
        memory_usage_mb=parameters * 4 / 2**20,
        max_tokens=getattr(model.processors.get("text"), "max_length", None),
        embed_dim=width,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=False,
        training_datasets=None,
        modalities=[kind for kind in ("image", "text") if kind in model.processors],
    )
