"""Image towers of `timm` with their pretrained weights: the same pixels, features and pooling as there.

    NAME                    of `timm.list_pretrained()`, with a tag or with the first of its tags
    DIR                     a folder that `timm.models.save_for_hf(..., safe_serialization=True)` wrote
    hf-hub:ORG/NAME[@REV]   such a folder on the hub

Use it as the image tower of a model to be aligned, or frozen, for its features. Weights are read from safetensors
only, and `timm` itself fits them to the architecture (it knows its own older names).

Source: Wightman 2019, PyTorch Image Models.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from torch import nn

from diptych.data.processors import ImageProcessor, Interpolation
from diptych.encoders import TimmImage, UnitLength
from diptych.models.opening.files import find_file
from diptych.models.opening.tower import Tower


@dataclass(frozen=True)
class _Source:
    """What a checkpoint says of itself.

    Attributes:
        architecture: its name in `timm`, perhaps with a tag.
        options: arguments of `timm.create_model`.
        config: `timm`'s configuration of the weights, with all its keys.
        weights: the safetensors file.
    """

    architecture: str
    options: dict[str, Any]
    config: dict[str, Any]
    weights: Path


def timm_image(name: str) -> Tower:
    """An image tower of `timm`; its head is `UnitLength`, since the tower has no projection of its own.

    Args:
        name: see above.

    Raises:
        ValueError: if there is no such model, it has no safetensors weights or they do not fit, or it wants pixels
            that `ImageProcessor` does not make.

    Example:
        `tower = timm_image("vit_small_patch14_dinov2.lvd142m")`
    """
    import timm
    from timm.data.config import resolve_data_config

    source = _source(name)
    pixels: Mapping[str, Any] = resolve_data_config(pretrained_cfg=source.config)
    processor = _processor(name, pixels)
    here = {"file": str(source.weights), "source": "", "url": "", "hf_hub_id": "", "custom_load": False}
    if source.config.get("fixed_input_size"):
        source.options["img_size"] = processor.size
    try:
        whole = timm.create_model(
            source.architecture.partition(".")[0],
            pretrained=True,
            pretrained_cfg=source.config,
            pretrained_cfg_overlay=here,
            **source.options,
        )
    except (RuntimeError, OSError, TypeError) as error:
        raise ValueError(f"the weights of timm's {name!r} do not fit their description: {error}") from error
    options = {key: value for key, value in source.options.items() if key != "num_classes"}
    encoder = TimmImage(source.architecture, options=options, mean=tuple(pixels["mean"]), std=tuple(pixels["std"]))
    _take(encoder.backbone, whole, name)
    return Tower(encoder, processor, UnitLength(encoder.width))


def _source(name: str) -> _Source:
    import timm
    from timm.models import PretrainedCfg

    place, _, revision = name.removeprefix("hf-hub:").partition("@")
    if name.startswith("hf-hub:") or Path(name).is_dir():
        place, revision = (place, revision or None) if name.startswith("hf-hub:") else (name, None)
        said = json.loads(_file(place, "config.json", revision).read_text())
        config = {**said.get("pretrained_cfg", said)}  # older folders have one level only
        if "architecture" not in said:
            raise ValueError(f"{place} has a config.json without 'architecture': it is no model of timm")
        if "num_classes" in said:
            config["num_classes"] = said["num_classes"]
        known = {field.name for field in fields(PretrainedCfg)}
        config = PretrainedCfg(**{key: value for key, value in config.items() if key in known}).to_dict()
        weights = _file(place, "model.safetensors", revision)
        return _Source(said["architecture"], dict(said.get("model_args") or {}), config, weights)
    try:
        registered = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        near = ", ".join(timm.list_pretrained(f"*{re.split('[._]', name)[0]}*")[:8]) or "see timm.list_pretrained()"
        raise ValueError(f"timm has no weights {name!r}, and there is no such folder; near it: {near}") from error
    if registered is None or not registered.hf_hub_id:
        raise ValueError(f"timm's {name!r} has no weights on the hub; pickled weights elsewhere are never opened")
    tagged = f"{registered.architecture}.{registered.tag}" if registered.tag else str(registered.architecture)
    return _Source(tagged, {}, registered.to_dict(), _file(registered.hf_hub_id, "model.safetensors", None))


def _file(place: str, file: str, revision: str | None) -> Path:
    found = find_file(place, file, revision=revision)
    if found is None:
        raise ValueError(
            f"the timm model {place!r} has no {file}: timm.models.save_for_hf(..., safe_serialization=True) writes "
            "config.json and model.safetensors (pickled weights are never opened)"
        )
    return found


def _processor(name: str, pixels: Mapping[str, Any]) -> ImageProcessor:
    """What makes the pixels that `timm`'s transform for evaluation makes."""
    (channels, height, width), part, mode = pixels["input_size"], pixels["crop_pct"], pixels["crop_mode"]
    kind = pixels["interpolation"]
    edge = math.floor(height / part)
    wrong = [
        text
        for text, holds in (
            (f"{channels} channels", channels != 3),
            (f"{height} x {width} pixels", height != width),
            (f"interpolation {kind!r}", kind not in get_args(Interpolation)),
            (f"crop_mode {mode!r}", mode not in ("center", "squash")),
            (f"crop_pct {part}", edge < height),
        )
        if holds
    ]
    if wrong:
        raise ValueError(
            f"timm's {name!r} wants {', '.join(wrong)}; what can be made are squares of 3 channels, cut from the "
            f"centre or squashed, crop_pct at most 1, interpolation {', '.join(get_args(Interpolation))}"
        )
    resize = "squash" if mode == "squash" else "shortest"
    return ImageProcessor(height, resize=resize, interpolation=kind, edge=edge, draft=False)


def _take(backbone: nn.Module, whole: nn.Module, name: str) -> None:
    """Give the tower the weights of the same model with its classifier."""
    own, given = backbone.state_dict(), whole.state_dict()
    missing = sorted(key for key in own if key not in given or own[key].shape != given[key].shape)
    if missing:
        raise ValueError(
            f"timm's {name!r} is another model without its classifier: weights that differ are {missing[:5]} "
            f"({len(missing)} in all)"
        )
    backbone.load_state_dict({key: given[key] for key in own})
