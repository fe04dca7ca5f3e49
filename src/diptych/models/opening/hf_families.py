"""The models of `transformers` with an image and a text tower: where each keeps its towers, projections and scale.

    score = exp(logit_scale) * <image, text> + logit_bias,    or <image, text> / temperature

Each family is a line of a table; a checkpoint's `model_type` names it. Adding a family adds a line.

Sources: CLIP (Radford et al. 2021, arXiv 2103.00020), CLIPSeg (Lüddecke and Ecker 2022, arXiv 2112.10003), SigLIP
(Zhai et al. 2023, arXiv 2303.15343), SigLIP 2 (Tschannen et al. 2025, arXiv 2502.14786), AltCLIP (Chen et al. 2022,
arXiv 2211.06679), Chinese-CLIP (Yang et al. 2022, arXiv 2211.01335), ALIGN (Jia et al. 2021, arXiv 2102.05918), BLIP
(Li et al. 2022, arXiv 2201.12086).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from diptych.encoders.heads import Projection, UnitLength
from diptych.encoders.hub_image import ImagePooling
from diptych.encoders.hub_text import TextPooling
from diptych.scoring.dot import Dot


@dataclass(frozen=True)
class Family:
    """How one kind of model is made.

    Attributes:
        model: the name of the class in `transformers`; None for what `AutoModel` opens.
        text: the attribute of its text tower; that of the image tower is `vision_model` in all of them.
        image_head, text_head: the attributes of their linear projections; None where the tower ends in its own.
        image_pooling, text_pooling: what is projected.
        fill: whether texts are always as long as the model has places: its tower reads the padding too.
    """

    model: str | None = None
    text: str = "text_model"
    image_head: str | None = "visual_projection"
    text_head: str | None = "text_projection"
    image_pooling: ImagePooling = "own"
    text_pooling: TextPooling = "own"
    fill: bool = False


_SIGLIP = Family(image_head=None, text_head=None, fill=True)
FAMILIES = {
    "clip": Family(),
    "clipseg": Family(),
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
    "altclip": Family(),
    "chinese_clip": Family(text_pooling="first"),
    "align": Family(image_head=None, text_pooling="first"),
    "blip": Family(
        model="BlipForImageTextRetrieval",
        text="text_encoder",
        image_head="vision_proj",
        text_head="text_proj",
        image_pooling="first",
        text_pooling="first",
    ),
    "vision-text-dual-encoder": Family(),
}
"""By `model_type`."""

_BLIP_MODEL = Family(model="BlipModel")


def family_of(name: str, config: Any) -> Family:
    """The family of a checkpoint's configuration.

    Raises:
        ValueError: if it has not two towers that were trained to meet; the message lists the families.
    """
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"hf:{name} is of model_type {config.model_type!r}; models with two towers are of {', '.join(FAMILIES)}; "
            "one tower alone can stand on its side of a pair, hf:IMAGE+hf:TEXT"
        )
    if config.model_type != "blip":
        return FAMILIES[config.model_type]
    made = (config.architectures or ["BlipForImageTextRetrieval"])[0]
    if made not in ("BlipForImageTextRetrieval", "BlipModel"):
        raise ValueError(f"hf:{name} is a {made}, which has no embeddings; give a BlipForImageTextRetrieval")
    return _BLIP_MODEL if made == "BlipModel" else FAMILIES["blip"]


def head_of(model: Any, attribute: str | None, width: int) -> Projection | UnitLength:
    """A projection with the checkpoint's weights; unit length of `width` channels for a tower that ends in its own."""
    if attribute is None:
        return UnitLength(width)
    linear: nn.Linear = getattr(model, attribute)
    head = Projection(linear.in_features, linear.out_features, layer_norm=False, bias=linear.bias is not None)
    head.linear.load_state_dict(linear.state_dict())
    return head


def width_of_embeddings(model: Any, family: Family) -> int:
    """Channels in which both towers meet: those that the text tower ends in."""
    if family.text_head is None:
        return int(getattr(model, family.text).config.projection_size)
    return int(getattr(model, family.text_head).out_features)


def dot_of(model: Any) -> Dot:
    """The scores' scale and bias as the checkpoint has them; 1 and none where it has neither."""
    if isinstance(scale := getattr(model, "logit_scale", None), torch.Tensor):
        log = float(scale.detach())
    elif isinstance(temperature := getattr(model, "temperature", None), torch.Tensor):
        log = -math.log(float(temperature.detach()))
    else:
        log = 0.0
    bias = getattr(model, "logit_bias", None)
    bias = float(bias.detach()) if isinstance(bias, torch.Tensor) else None
    return Dot(math.exp(log), bias=bias, max_scale=max(100.0, math.exp(log)))
