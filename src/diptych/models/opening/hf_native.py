"""A plain CLIP of `transformers` as towers of ours: the same vectors and scores, faster.

The patches are given after the last LayerNorm, as open_clip gives them; the library's own are from before it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from diptych.core.configuration import build, describe
from diptych.core.model import Model
from diptych.data.processors import TextProcessor
from diptych.encoders import HubImage, HubText
from diptych.models.clip_names import from_hf
from diptych.models.opening.native_clip import clip_from_weights

_PLACES = "text_model.embeddings.position_embedding.weight"


def as_native(model: Any, wrapped: Model) -> Model | None:
    """The model with our towers, where they give its answers; else None.

    Args:
        model: a `CLIPModel` with its weights.
        wrapped: the same, opened: its processors, scale and places, which may be stretched, are taken.
    """
    vision, text = model.config.vision_config, model.config.text_config
    words = wrapped.processors["text"]
    end = _end_of(text, words)
    same = {(one.hidden_act, one.layer_norm_eps, one.intermediate_size / one.hidden_size) for one in (vision, text)}
    if end is None or not same <= {("quick_gelu", 1e-5, 4.0), ("gelu", 1e-5, 4.0)} or len(same) > 1:
        return None
    seen, read = wrapped.towers["image"], wrapped.towers["text"]
    assert isinstance(seen, HubImage) and isinstance(read, HubText)
    weights = dict(model.state_dict())
    weights[_PLACES] = next(x for name, x in read.state_dict().items() if name.endswith("position_embedding.weight"))
    parts: dict[str, nn.Module] = dict(wrapped.parts.items())
    native = clip_from_weights(
        from_hf(weights),
        parts=parts,
        quick_gelu=vision.hidden_act == "quick_gelu",
        heads=(vision.num_attention_heads, text.num_attention_heads),
        mean=seen.mean,
        std=seen.std,
    )
    described = describe(words)
    described["arguments"]["stop_id"] = end
    native.processors = {"image": wrapped.processors["image"], "text": build(described)}
    return native.eval()


def _end_of(text: Any, words: object) -> int | None:
    """The token that every text ends with, if that is where the module pools; else None."""
    if not isinstance(words, TextProcessor):
        return None
    rows, _ = words.encode(["a", "1"])
    ends = {int(row[-1]) for row in rows}
    # 2 is what old configurations say; the module then pools at the largest id.
    wanted = text.vocab_size - 1 if text.eos_token_id == 2 else text.eos_token_id
    return wanted if ends == {wanted} else None
