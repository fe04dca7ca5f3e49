"""Towers of one model of `transformers`, wrapped and maybe trained further, back as a folder of the same `model_type`.

The towers are the library's own modules, so their configurations and weights go back to where its model keeps them.
What no embedding needs (cross-attention, heads for matching) is not part of our towers and is left out.

Source: Wolf et al. 2020, Transformers, arXiv 1910.03771.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import HubImage, HubText, Projection, UnitLength
from diptych.encoders.hub import module_class
from diptych.exporting.native import left_out, refuse, scorer
from diptych.exporting.preprocessing import hf_pixels
from diptych.exporting.tokenizer import save_tokenizer
from diptych.models.opening.hf_families import FAMILIES, Family
from diptych.scoring import Dot

_NAME = "transformers"
_NOT_KEPT = {"transformers_version", "dtype", "torch_dtype", "_name_or_path", "architectures"}


def is_wrapped(model: Model) -> bool:
    """Whether both towers are wrapped modules of `transformers`."""
    towers = dict(model.towers.named_children())
    return isinstance(towers.get("image"), HubImage) and isinstance(towers.get("text"), HubText)


def write_wrapped(model: Model, folder: Path) -> list[str]:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json` and the tokenizer's files.

    Args:
        model: for which `is_wrapped` is true.
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        diptych.exporting.native.CannotExport: if no model of `transformers` has such towers, heads and scorer.
    """
    image, text, dot = model.towers["image"], model.towers["text"], scorer(model, _NAME)
    assert isinstance(image, HubImage) and isinstance(text, HubText)
    pixels, words = model.processors.get("image"), model.processors.get("text")
    if not isinstance(pixels, ImageProcessor) or not isinstance(words, TextProcessor):
        refuse(f"the processors are {type(pixels).__name__} and {type(words).__name__}, not those of hf:", _NAME)
    heads = {name: dict(model.heads[name].named_children()).get("dense") for name in ("image", "text")}
    kind, family = _family(image, text, heads)
    theirs = _built(kind, family, image, text, heads["text"])
    weights = {f"vision_model.{name}": x for name, x in image.backbone.state_dict().items()}
    weights |= {f"{family.text}.{name}": x for name, x in text.backbone.state_dict().items()}
    for name, attribute in (("image", family.image_head), ("text", family.text_head)):
        head = heads[name]
        if attribute is not None and isinstance(head, Projection):
            weights |= {f"{attribute}.{key}": x for key, x in head.linear.state_dict().items()}
    scale, notes = _scale(theirs, dot)
    weights |= scale
    without = _filled(theirs, weights)
    if without:
        notes.append(f"weights that no embedding needs are left out: {', '.join(without)}")
    theirs.save_pretrained(folder, state_dict={name: x for name, x in theirs.state_dict().items() if name in weights})
    notes += _save_pixels(pixels, image, folder)
    save_tokenizer(words, folder, masked=text.masked, padding=text.padding)
    if words.fill:
        notes.append(f"texts must be filled up to {words.max_length} tokens: give the processor padding='max_length'")
    return notes + left_out(model)


def _family(image: HubImage, text: HubText, heads: dict[str, nn.Module | None]) -> tuple[str, Family]:
    """The `model_type` whose towers these are."""
    kinds = [tower.config["model_type"] for tower in (image, text)]
    poolings = [tower.pooling for tower in (image, text)]
    families = [("blip", Family(model="BlipModel")), *FAMILIES.items()]  # the last one takes any two that pool alone
    fitting = (
        (kind, family)
        for kind, family in families
        if poolings == [family.image_pooling, family.text_pooling] and _kinds_of(kind) in (kinds, [None, None])
    )
    found = next(fitting, None)
    if found is None:
        refuse(
            f"the towers are a {kinds[0]} pooled by {poolings[0]!r} and a {kinds[1]} pooled by {poolings[1]!r}", _NAME
        )
    for name, attribute in (("image", found[1].image_head), ("text", found[1].text_head)):
        _require_head(name, heads[name], attribute)
    return found


def _kinds_of(kind: str) -> list[str | None]:
    """The `model_type` of the towers that a model has; None for any."""
    from transformers import CONFIG_MAPPING

    parts = getattr(CONFIG_MAPPING[kind], "sub_configs", {})
    return [getattr(parts.get(f"{part}_config"), "model_type", None) for part in ("vision", "text")]


def _require_head(name: str, head: nn.Module | None, attribute: str | None) -> None:
    if attribute is None:
        if not isinstance(head, UnitLength):
            refuse(f"the {name} tower's head is a {type(head).__name__}, and there it has none", _NAME)
    elif not isinstance(head, Projection):
        refuse(f"the {name} tower's head is a {type(head).__name__}, and there it is a linear map", _NAME)
    else:
        for part, there in (("layer_norm", head.layer_norm), ("hidden", head.hidden)):
            if there:
                refuse(f"the {name} tower's projection has {part}={there}, not a linear map alone", _NAME)


def _built(kind: str, family: Family, image: HubImage, text: HubText, head: nn.Module | None) -> Any:
    """The whole model with random weights."""
    import transformers

    plain = [{key: x for key, x in tower.config.items() if key not in _NOT_KEPT} for tower in (image, text)]
    sizes: dict[str, Any] = {"projection_dim": head.width} if isinstance(head, Projection) and family.text_head else {}
    if family.model == "BlipForImageTextRetrieval":
        sizes = {"image_text_hidden_size": sizes["projection_dim"]}
    own: Any = transformers.CONFIG_MAPPING[kind]
    config = own(vision_config=plain[0], text_config=plain[1], **sizes)
    cls = getattr(transformers, family.model) if family.model else module_class(config)
    try:
        return cls(config).float().eval()
    except (ValueError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[0][:200]
        refuse(f"the towers cannot be put together as {cls.__name__} ({first})", _NAME)


def _scale(theirs: Any, dot: Dot) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The scorer's scale and bias, by the model's names."""
    names, notes = dict(theirs.named_parameters()), []
    scale, bias = dot.current_scale().detach(), None if dot.offset is None else dot.offset.detach()
    found: dict[str, torch.Tensor] = {}
    if "logit_scale" in names:
        found["logit_scale"] = scale.log()
    elif "temperature" in names:
        found["temperature"] = 1 / scale
    elif not math.isclose(float(scale), 1):
        notes.append(f"the scores' scale, {float(scale):.4g}, has no place: scores there are cosines")
    if "logit_bias" in names:
        found["logit_bias"] = torch.zeros_like(scale) if bias is None else bias
    elif bias is not None:
        refuse("the scorer has a bias", _NAME)
    return {name: x.reshape(names[name].shape) for name, x in found.items()}, notes


def _filled(theirs: Any, weights: dict[str, torch.Tensor]) -> list[str]:
    """Give the model its weights; the modules that got none, by name.

    Raises:
        diptych.exporting.native.CannotExport: if it has no place for some.
    """
    own = theirs.state_dict()
    wrong = sorted(name for name, x in weights.items() if name not in own or own[name].shape != x.shape)
    if wrong:
        refuse(f"the weights {wrong[:3]} ({len(wrong)} in all) have no place in {type(theirs).__name__}", _NAME)
    theirs.load_state_dict(weights, strict=False)
    return sorted({name.rpartition(".")[0] for name in own if name not in weights})


def _save_pixels(pixels: ImageProcessor, image: HubImage, folder: Path) -> list[str]:
    """The image processor; sentences on what differs."""
    import transformers

    if image.config["model_type"] != "siglip2_vision_model":
        config, notes = hf_pixels(pixels, image.mean, image.std)
        transformers.CLIPImageProcessor(**config).save_pretrained(folder)
        return notes
    patch = int(image.config["patch_size"])
    config, _ = hf_pixels(pixels, image.mean, image.std)
    made: Any = transformers.Siglip2ImageProcessor(
        patch_size=patch,
        max_num_patches=(pixels.size // patch) ** 2,
        **{name: config[name] for name in ("resample", "image_mean", "image_std")},
    )
    made.save_pretrained(folder)
    return ["pictures keep their shape there, where Diptych makes them square"]
