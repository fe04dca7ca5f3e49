"""CLIP models of open_clip as models of ours: plain ViT and causal text transformer, with the same answers.

Use it to start from published weights, or to train such a model faster. Nothing of open_clip is needed but its
weights by its own names, as a file `open_clip_model.safetensors` has them. Other architectures are refused.

Sources: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773); Radford et al. 2021, arXiv 2103.00020.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import Projection, TextTransformer, VisionTransformer
from diptych.scoring import Dot

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of each channel on [0, 1], in OpenAI's training data."""

_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "no_ln_pre"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers"}
_BLOCK = {
    "ln_1.weight": "norm1.weight",
    "ln_1.bias": "norm1.bias",
    "attn.in_proj_weight": "qkv.weight",
    "attn.in_proj_bias": "qkv.bias",
    "attn.out_proj.weight": "out.weight",
    "attn.out_proj.bias": "out.bias",
    "ln_2.weight": "norm2.weight",
    "ln_2.bias": "norm2.bias",
    "mlp.c_fc.weight": "up.weight",
    "mlp.c_fc.bias": "up.bias",
    "mlp.c_proj.weight": "down.weight",
    "mlp.c_proj.bias": "down.bias",
}
_OUTSIDE = {
    "visual.conv1.weight": "towers.image.patches.weight",
    "visual.class_embedding": "towers.image.first",
    "visual.positional_embedding": "towers.image.place",
    "visual.ln_pre.weight": "towers.image.norm0.weight",
    "visual.ln_pre.bias": "towers.image.norm0.bias",
    "visual.ln_post.weight": "towers.image.norm.weight",
    "visual.ln_post.bias": "towers.image.norm.bias",
    "visual.proj": "heads.image.dense.linear.weight",
    "token_embedding.weight": "towers.text.token.weight",
    "positional_embedding": "towers.text.place",
    "ln_final.weight": "towers.text.norm.weight",
    "ln_final.bias": "towers.text.norm.bias",
    "text_projection": "heads.text.dense.linear.weight",
    "logit_scale": "parts.dot.log_scale",
    "logit_bias": "parts.dot.offset",
}
_MAY_BE_MISSING = ("visual.ln_pre.weight", "visual.ln_pre.bias", "logit_bias")


def clip_from_weights(
    weights: Mapping[str, Tensor],
    *,
    parts: Mapping[str, nn.Module],
    quick_gelu: bool = False,
    heads: tuple[int, int] | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    text_processor: TextProcessor | None = None,
) -> Model:
    """A CLIP model with the weights of one of open_clip; widths and depths are read from their shapes.

    Args:
        weights: open_clip's state dict.
        parts: of the model; `"dot"` takes the scale.
        quick_gelu: whether its MLPs use the quick GELU, as OpenAI's own weights do; no shape tells.
        heads: attention heads of the image and of the text tower; None for one to every 64 of width.
        mean, std: of the pixels on [0, 1], as it was trained.
        text_processor: its tokenizer, made ready; without it the model takes token ids only.

    Returns:
        Towers `"image"` and `"text"`, a head `"dense"` for each; in float32.

    Raises:
        ValueError: if names or shapes are not those of a plain ViT and open_clip's standard text transformer.

    Example:
        `clip_from_weights(load_file("open_clip_model.safetensors"), parts={"dot": Dot()})`
    """
    names = _names(weights)
    if "dot" not in parts:
        raise ValueError(f"the parts are {sorted(parts)}; one named 'dot' must be there to take the scale")
    width, channels, patch, _ = weights["visual.conv1.weight"].shape
    vocab_size, text_width = weights["token_embedding.weight"].shape
    side = round((len(weights["visual.positional_embedding"]) - 1) ** 0.5)
    image_heads, text_heads = heads or (max(width // 64, 1), max(text_width // 64, 1))
    activation = "quick_gelu" if quick_gelu else "gelu"
    image = VisionTransformer(
        side * patch,
        channels=channels,
        patch=patch,
        width=width,
        depth=_depth(weights, "visual.transformer"),
        heads=image_heads,
        activation=activation,
        embedding_norm="visual.ln_pre.weight" in weights,
        patch_bias=False,
        mean=mean,
        std=std,
    )
    text = TextTransformer(
        vocab_size,
        width=text_width,
        depth=_depth(weights, "transformer"),
        heads=text_heads,
        max_length=len(weights["positional_embedding"]),
        activation=activation,
        causal=True,
        pooling="last",
    )
    embedding = weights["visual.proj"].shape[1]
    projections = {
        name: {"dense": Projection(tower.width, embedding, layer_norm=False)}
        for name, tower in (("image", image), ("text", text))
    }
    processors = {"image": ImageProcessor(image.size)} | ({"text": text_processor} if text_processor else {})
    model = Model({"image": image, "text": text}, projections, parts, processors)
    _load(model, {ours: _as_ours(name, weights[name]) for name, ours in names.items()})
    return model


def clip_to_weights(model: Model) -> dict[str, Tensor]:
    """The state dict of open_clip's CLIP from a model that `clip_from_weights` built; its inverse, also after training.

    Args:
        model: a `VisionTransformer` with a class token and no bias of its patches, a causal `TextTransformer`, a plain
            linear head `"dense"` for each, and a part `"dot"`, whose scale in force is taken.

    Raises:
        ValueError: if a weight is missing.
    """
    own = model.state_dict()
    image, text, dot = model.towers["image"], model.towers["text"], model.parts["dot"]
    assert isinstance(image, VisionTransformer) and isinstance(text, TextTransformer) and isinstance(dot, Dot)
    left_out = {name for name in _MAY_BE_MISSING if _OUTSIDE[name] not in own}
    names = _listed(image.depth, text.depth, left_out)
    if missing := sorted(ours for ours in names.values() if ours not in own):
        raise ValueError(f"the model has no {missing[:5]}; it is none that clip_from_weights builds")
    weights = {name: own[ours].detach().cpu() for name, ours in names.items()}
    weights["visual.conv1.weight"] = weights["visual.conv1.weight"].unflatten(
        1, (image.channels, image.patch, image.patch)
    )
    weights |= {name: weights[name].t() for name in ("visual.proj", "text_projection")}
    weights["logit_scale"] = dot.current_scale().detach().cpu().log()
    return {name: weight.contiguous() for name, weight in weights.items()}


def clip_from_folder(folder: str | Path, *, parts: Mapping[str, nn.Module]) -> Model:
    """A CLIP model from a folder as open_clip puts them on the hub.

    Args:
        folder: with `open_clip_config.json`, `open_clip_model.safetensors` and, to take texts, `tokenizer.json`.
        parts: of the model; `"dot"` takes the scale.

    Raises:
        ValueError: if a file is missing or damaged, or the configuration names what `clip_from_weights` cannot build.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / "open_clip_config.json").read_text())
        weights = load_file(folder / "open_clip_model.safetensors")
        config: Mapping[str, Any] = content["model_cfg"]
        vision, text, pixels = config["vision_cfg"], config["text_cfg"], content.get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder} is no folder of an open_clip model: {error!r}") from error
    if other := _beyond(vision, text):
        raise ValueError(f"{folder} asks for {other}; only a plain ViT and the standard text transformer can be built")
    tokenizer = folder / "tokenizer.json"
    processor = None
    if tokenizer.exists():
        length, size = text.get("context_length", 77), text.get("vocab_size", 49408)
        processor = TextProcessor(size, max_length=length, definition=tokenizer.read_text())
    return clip_from_weights(
        weights,
        parts=parts,
        quick_gelu=config.get("quick_gelu", False),
        heads=(vision["width"] // vision.get("head_width", 64), text["heads"]),
        mean=pixels.get("mean", MEAN),
        std=pixels.get("std", STD),
        text_processor=processor,
    )


def is_native(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of open_clip is that of a plain ViT and the standard text transformer."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    return (
        not config.get("custom_text")
        and not set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"}
        and not _beyond(vision, text)
        and all(isinstance(x, int) for x in (size, patch, vision.get("layers", 12)))
        and size % patch == 0
    )


def _beyond(vision: Mapping[str, Any], text: Mapping[str, Any]) -> list[str]:
    """What a configuration names that a plain ViT and the standard text transformer do not have."""
    return sorted([f"vision_cfg.{x}" for x in set(vision) - _VISION] + [f"text_cfg.{x}" for x in set(text) - _TEXT])


def _names(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """open_clip's name -> ours, of every weight."""
    left_out = {name for name in _MAY_BE_MISSING if name not in weights}
    names = _listed(max(_depth(weights, "visual.transformer"), 1), max(_depth(weights, "transformer"), 1), left_out)
    missing, unexpected = sorted(set(names) - set(weights)), sorted(set(weights) - set(names))
    if missing or unexpected:
        raise ValueError(
            "these are not the weights of an open_clip model with a plain ViT and its standard text transformer: "
            f"missing {missing[:5]} ({len(missing)} in all), unexpected {unexpected[:5]} ({len(unexpected)} in all)"
        )
    return names


def _listed(image_depth: int, text_depth: int, left_out: Collection[str]) -> dict[str, str]:
    """open_clip's name -> ours, for towers of so many blocks."""
    names = {name: ours for name, ours in _OUTSIDE.items() if name not in left_out}
    for theirs, ours, depth in (
        ("visual.transformer", "towers.image", image_depth),
        ("transformer", "towers.text", text_depth),
    ):
        for i in range(depth):
            names |= {f"{theirs}.resblocks.{i}.{a}": f"{ours}.blocks.{i}.{b}" for a, b in _BLOCK.items()}
    return names


def _depth(weights: Mapping[str, Tensor], tower: str) -> int:
    """The number of blocks."""
    return len({found[1] for name in weights if (found := re.match(rf"{re.escape(tower)}\.resblocks\.(\d+)\.", name))})


def _as_ours(name: str, weight: Tensor) -> Tensor:
    """A weight as our layers hold it: a convolution over patches as their product, `x @ W` as `x @ W.T`."""
    if name == "visual.conv1.weight":
        return weight.flatten(1)
    return weight.t() if name in ("visual.proj", "text_projection") else weight


def _load(model: Model, weights: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    wrong = [
        f"{name}: {tuple(x.shape)}" for name, x in weights.items() if name not in own or own[name].shape != x.shape
    ]
    if wrong:
        raise ValueError(f"weights that do not fit a plain ViT or the standard text transformer: {wrong[:5]}")
    with torch.no_grad():
        model.load_state_dict({**own, **weights})
