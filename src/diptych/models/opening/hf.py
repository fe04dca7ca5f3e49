"""Models of `transformers` by name: both towers of one that has two, or one tower for a pair.

The towers are the library's own modules, wrapped, so tokens, pooled vectors and scores are those of the library's
forward; a plain CLIP becomes towers of ours (`hf_native.py`) unless that is not wanted. Weights come from safetensors
alone; a checkpoint of ours then holds all that is needed, without the network.
One exception: SigLIP 2 NaFlex keeps each image's shape, and here images of all shapes get that of a square one.

Example:
    `model = open_hf("openai/clip-vit-base-patch32", max_length=None, too_long="cut", wrapped=False)`
"""

from __future__ import annotations

from typing import Any

from diptych.core.model import Model
from diptych.data.processors import TooLong
from diptych.encoders import Projection, UnitLength
from diptych.encoders.hub import module_class
from diptych.encoders.hub_text import pooling_said, tokens_said
from diptych.models.opening.hf_families import FAMILIES, Family, dot_of, family_of, head_of, width_of_embeddings
from diptych.models.opening.hf_files import config_of, weights_of
from diptych.models.opening.hf_native import as_native
from diptych.models.opening.hf_towers import image_tower, text_tower
from diptych.models.opening.tower import Tower, assembled

_POOLS_ITSELF = (
    "clip_text_model",
    "clipseg_text_model",
    "siglip_text_model",
    "siglip2_text_model",
    "altclip_text_model",
)


def open_hf(name: str, *, max_length: int | None, too_long: TooLong, wrapped: bool) -> Model:
    """A model with an image and a text tower.

    Args:
        name: a folder, or a place on the hub.
        max_length: tokens of a text; None for what the model has places for; more stretches learned places.
        too_long: what becomes of texts of more tokens.
        wrapped: keep the library's modules also of a plain CLIP, which ours answer for faster.

    Raises:
        ValueError: if it cannot be opened exactly as it was made; the message says what was found.
    """
    model, missing, family = _opened(name)
    absent = sorted(missing & {"logit_scale", "logit_bias", "temperature"})
    if absent:
        raise ValueError(f"hf:{name} has no weights for {absent}")
    text = _text_of(name, model, missing, family, max_length, too_long)
    opened = assembled(_image_of(name, model, missing, family), text, dot_of(model))
    if wrapped or model.config.model_type != "clip":
        return opened
    return as_native(model, opened) or opened


def hf_image(name: str) -> Tower:
    """An image tower: that of a model with two, with its projection, or a model of images alone.

    Raises:
        ValueError: as for `open_hf`.
    """
    config = config_of(name)
    if _has_two_towers(name, config):
        return _image_of(name, *_opened(name))
    module, missing = weights_of(name, module_class(config))
    if module.main_input_name != "pixel_values":
        raise ValueError(f"hf:{name} is of model_type {config.model_type!r}, which is no encoder of images")
    untrained = any(weight.startswith("pooler.") for weight in missing)  # as in a classifier's checkpoint
    return image_tower(name, module, None, pooling="first" if untrained else "own", missing=missing)


def hf_text(name: str, *, max_length: int | None, too_long: TooLong) -> Tower:
    """A text tower: that of a model with two, with its projection, or a model of texts alone.

    One of texts alone pools as its folder says in the way of sentence-transformers, else by the mean.

    Raises:
        ValueError: as for `open_hf`.
    """
    config = config_of(name)
    if _has_two_towers(name, config):
        return _text_of(name, *_opened(name), max_length, too_long)
    module, missing = weights_of(name, module_class(config))
    if module.main_input_name != "input_ids" or config.is_encoder_decoder:
        raise ValueError(f"hf:{name} is of model_type {config.model_type!r}, which is no encoder of texts")
    own = config.model_type in _POOLS_ITSELF
    return text_tower(
        name,
        module,
        UnitLength(config.projection_size) if hasattr(config, "projection_size") else None,
        pooling="own" if own else pooling_said(name),
        missing=missing,
        fill=config.model_type.startswith("siglip"),
        max_length=max_length,
        too_long=too_long,
        usual=None if own else tokens_said(name),
    )


def _has_two_towers(name: str, config: Any) -> bool:
    """Whether it is of a family; what has parts of its own and is of none is an error."""
    if hasattr(config, "vision_config") or hasattr(config, "text_config"):
        family_of(name, config)
    return config.model_type in FAMILIES


def _opened(name: str) -> tuple[Any, set[str], Family]:
    """A model of two towers, the names of weights that it has not, and what it is."""
    import transformers

    config = config_of(name)
    family = family_of(name, config)
    return *weights_of(name, getattr(transformers, family.model) if family.model else module_class(config)), family


def _image_of(name: str, model: Any, missing: set[str], family: Family) -> Tower:
    head = _head(name, model, missing, family.image_head, width_of_embeddings(model, family))
    return image_tower(
        name, model.vision_model, head, pooling=family.image_pooling, missing=_within(missing, "vision_model")
    )


def _text_of(
    name: str, model: Any, missing: set[str], family: Family, max_length: int | None, too_long: TooLong
) -> Tower:
    head = _head(name, model, missing, family.text_head, width_of_embeddings(model, family))
    return text_tower(
        name,
        getattr(model, family.text),
        head,
        pooling=family.text_pooling,
        missing=_within(missing, family.text),
        fill=family.fill,
        max_length=max_length,
        too_long=too_long,
    )


def _head(name: str, model: Any, missing: set[str], attribute: str | None, width: int) -> Projection | UnitLength:
    if attribute and _within(missing, attribute):
        raise ValueError(f"hf:{name} has no weights for its projection {attribute!r}")
    return head_of(model, attribute, width)


def _within(names: set[str], attribute: str) -> set[str]:
    """Names of what lies in an attribute, as it has them itself."""
    return {name.removeprefix(f"{attribute}.") for name in names if name.startswith(f"{attribute}.")}
