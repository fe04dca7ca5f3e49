"""Open a model of open_clip: by architecture, by architecture and tag, from a folder, or from the hub.

    ARCH                 random weights
    ARCH/TAG             those of a tag, if the hub has them as safetensors
    DIR                  a folder with open_clip_config.json and open_clip_model.safetensors
    hf-hub:ORG/NAME      the same, on the hub

A plain ViT with CLIP's text transformer becomes ours, which is faster and gives the same answers (`native_clip.py`);
any other tower is open_clip's own, wrapped. Nothing pickled is opened.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.core.model import Model
from diptych.data.open_clip_text import open_clip_library
from diptych.data.processors import TooLong
from diptych.encoders import UnitLength
from diptych.encoders.open_clip_image import OpenClipImage, image_tower
from diptych.encoders.open_clip_text import OpenClipClassText, OpenClipHubText, OpenClipText, text_tower
from diptych.models.opening.native_clip import MEAN, STD, clip_from_weights, is_native
from diptych.models.opening.open_clip_processors import image_processor, tokenizer
from diptych.models.opening.open_clip_source import Source, find, understand
from diptych.models.opening.stretch import stretched
from diptych.models.opening.tower import Tower, assembled
from diptych.scoring.dot import Dot

_NOT_KEPT = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}
_TEXT = ("positional_embedding", "token_embedding", "transformer", "ln_final", "text_projection")
"""What a text tower's weights begin with where open_clip keeps them beside the image tower's, not under `text`."""


def open_open_clip(name: str, *, max_length: int | None, too_long: TooLong, wrapped: bool) -> Model:
    """A model of open_clip, in eval mode on the CPU, in float32.

    Args:
        name: see above.
        max_length: tokens of a text, 3 or more; None for the tower's own. Others stretch its places, or cut earlier.
        too_long: what becomes of texts of more tokens.
        wrapped: keep open_clip's modules also where ours give the same answers faster.

    Raises:
        ModuleNotFoundError: if open_clip is missing.
        ValueError: if there is no such model, or it cannot be opened; the message says why and what can.

    Example:
        `model = open_open_clip("ViT-B-32/openai", max_length=None, too_long="cut", wrapped=False)`
    """
    if max_length is not None and max_length < 3:
        raise ValueError(f"max_length is {max_length}; a text has a start, an end and at least one token between them")
    open_clip_library()
    source = find(name)
    understand(source)
    weights = None if source.weights is None else _read(source.weights)
    if is_native(source.config) and not wrapped:
        return _native(source, weights, max_length, too_long)
    return _wrapped(source, weights, max_length, too_long)


def towers(source: Source, *, places: int | None = None) -> tuple[OpenClipImage, OpenClipText | OpenClipHubText]:
    """open_clip's own towers of a configuration, wrapped, with random weights.

    Args:
        source: of the model.
        places: of the longest text; None for the tower's own, or more, to be stretched.

    Raises:
        ValueError: if a tower cannot be opened.
    """
    config, pixels = source.config, source.pixels
    dim, text = int(config["embed_dim"]), config["text_cfg"]
    image = image_tower(
        dim,
        config["vision_cfg"],
        quick_gelu=_quick(config),
        mean=_each(pixels.get("mean") or MEAN),
        std=_each(pixels.get("std") or STD),
    )
    hub = text.get("hf_model_name")
    if places is not None and not hub:
        text = {**text, "context_length": max(places, text.get("context_length", 77))}
    return image, text_tower(dim, text, quick_gelu=_quick(config), hub_config=_hub_config(hub) if hub else None)


def _native(source: Source, weights: dict[str, Tensor] | None, max_length: int | None, too_long: TooLong) -> Model:
    """As towers of ours."""
    config = source.config
    vision, text = config["vision_cfg"], config["text_cfg"]
    if weights is None:
        weights = dict(open_clip_library().CLIP(config["embed_dim"], vision, text, _quick(config)).state_dict())
    length = max_length or text.get("context_length", 77)
    if "positional_embedding" in weights:
        places = _longer(source, weights["positional_embedding"], length)
        weights = {**weights, "positional_embedding": places}
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    _resize(weights, SimpleNamespace(grid_size=size // patch))
    model = clip_from_weights(
        weights,
        parts={"dot": _dot(weights.get("logit_scale"), None)},
        quick_gelu=_quick(config),
        heads=(vision.get("width", 768) // vision.get("head_width", 64), text.get("heads", 8)),
        mean=_each(source.pixels.get("mean") or MEAN),
        std=_each(source.pixels.get("std") or STD),
    )
    model.processors = {
        "image": image_processor(source, size),
        "text": tokenizer(source, length, too_long, fill=None, stops=True),
    }
    return model.eval()


def _wrapped(source: Source, weights: dict[str, Tensor] | None, max_length: int | None, too_long: TooLong) -> Model:
    """As towers of open_clip."""
    config = source.config
    image, text = towers(source, places=max_length)
    length = max_length or config["text_cfg"].get("context_length", 77)
    if text.places is not None and length > text.places:
        raise ValueError(
            f"{source.name}: its text tower, {config['text_cfg']['hf_model_name']!r}, has places for {text.places} "
            f"tokens, fewer than max_length, {length}, and they cannot be stretched"
        )
    scale, bias = torch.tensor(config.get("init_logit_scale", math.log(1 / 0.07))), config.get("init_logit_bias")
    if weights is not None:
        _load(source, image, text, weights)
        scale, bias = weights.get("logit_scale", scale), weights.get("logit_bias")
    return assembled(
        Tower(image, image_processor(source, image.size), UnitLength(image.width)),
        Tower(text, tokenizer(source, length, too_long, fill=text.filled), UnitLength(text.width)),
        _dot(scale, bias),
    )


def _load(
    source: Source, image: OpenClipImage, text: OpenClipText | OpenClipHubText, weights: Mapping[str, Tensor]
) -> None:
    """Give the towers their weights; a decoder's are left out."""
    named = {f"text.{name}" if name.partition(".")[0] in _TEXT else name: x for name, x in weights.items()}
    named.pop("text.transformer.embeddings.position_ids", None)  # older versions of `transformers` saved them
    _resize(named, image.tower)
    places = named.get("text.positional_embedding")
    if places is not None and isinstance(text, OpenClipText):
        named["text.positional_embedding"] = _longer(
            source, places, text.places, last=isinstance(text, OpenClipClassText)
        )
    for tower, prefix in ((image.tower, "visual."), (text.tower, "text.")):
        try:
            tower.load_state_dict({n.removeprefix(prefix): x for n, x in named.items() if n.startswith(prefix)})
        except RuntimeError as error:
            raise ValueError(f"{source.weights} does not fit the configuration of {source.name}: {error}") from error


def _resize(weights: dict[str, Tensor], visual: Any) -> None:
    """Fit an image tower's places to its grid, where the configuration asks for another size than its weights have."""
    open_clip_library().model.resize_pos_embed(weights, SimpleNamespace(visual=visual))


def _longer(source: Source, places: Tensor, length: int, *, last: bool = False) -> Tensor:
    """A text tower's places, for at least `length` tokens; `last` if the class token's is after them, and stays."""
    own, there = source.config["text_cfg"].get("context_length", 77), len(places) - last
    if there != own:
        raise ValueError(
            f"{source.name}: its weights have places for {there} tokens, its configuration for {own}: correct its "
            "text_cfg.context_length; other lengths are had with max_length"
        )
    return torch.cat([stretched(places[:there], max(length, there)), places[there:]])


def _dot(scale: Tensor | None, bias: Tensor | float | None) -> Dot:
    """The score with a checkpoint's logit scale and bias; it may exceed our usual limit, if the checkpoint's does."""
    if scale is None:
        return Dot()
    value, log_scale = float(scale.float().exp()), scale.float().reshape(())
    limit = value if value > 100 * (1 + 1e-5) else 100.0  # weights clipped at 100 are above it by rounding
    dot = Dot(min(value, limit), bias=None if bias is None else float(bias), max_scale=limit)
    with torch.no_grad():
        dot.log_scale.copy_(log_scale)
    return dot


def _hub_config(name: str) -> dict[str, Any]:
    """The configuration of a model of `transformers`, as plain values."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the text tower is the model {name!r} of transformers, whose configuration cannot be read: {error}; go "
            "online once, or write a folder with its config.json as text_cfg.hf_model_name"
        ) from error
    content = json.loads(config.to_json_string(use_diff=False))
    return {key: x for key, x in content.items() if key not in _NOT_KEPT}


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged, or no file of safetensors: {error}") from error


def _quick(config: Mapping[str, Any]) -> bool:
    return bool(config.get("quick_gelu"))


def _each(values: Any) -> tuple[float, ...]:
    """One number of each channel, or one for all."""
    return (float(values),) if isinstance(values, int | float) else tuple(map(float, values))
