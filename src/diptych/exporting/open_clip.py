"""A CLIP of ours as a folder that open_clip opens: `create_model_and_transforms("local-dir:DIR")`.

Weights are renamed, not computed, so embeddings are equal but for the order of float32 sums. open_clip pools a text at
its highest token id; where our end token is not the highest, the configuration says `pool_type: eos`.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor
from diptych.encoders import TextTransformer, VisionTransformer
from diptych.exporting.native import NativeClip, left_out, native_clip, refuse
from diptych.exporting.tokenizer import save_tokenizer
from diptych.models.opening.native_clip import clip_to_weights

_NAME = "open_clip"


def write_open_clip(model: Model, folder: Path) -> list[str]:
    """Write `open_clip_config.json`, `open_clip_model.safetensors` and, with a tokenizer, its files.

    Args:
        model: as `clip_from_weights` builds it, also after training.
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        CannotExport: if a part cannot be said in open_clip's terms.
    """
    clip = native_clip(model, _NAME)
    preprocess, notes = _preprocess(clip.pixels, clip.image)
    config = {"model_cfg": _model_config(clip), "preprocess_cfg": preprocess}
    save_file(clip_to_weights(model), folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    if clip.words is None or clip.end is None:
        notes.append("the model has no tokenizer of its own: open_clip's default is used")
    else:
        save_tokenizer(clip.words, folder, end=clip.end)
        if clip.words.max_length != clip.text.max_length:
            notes.append(f"texts are cut at {clip.text.max_length} tokens, not at {clip.words.max_length}")
    return notes + left_out(model)


def _model_config(clip: NativeClip) -> dict[str, Any]:
    image, text, dot = clip.image, clip.text, clip.dot
    if image.activation != text.activation:
        refuse(
            f"the image tower's activation is {image.activation!r}, the text tower's {text.activation!r}, "
            "which must be the same",
            _NAME,
            "hf, onnx and safetensors",
        )
    config: dict[str, Any] = {
        "embed_dim": clip.width,
        "quick_gelu": image.activation == "quick_gelu",
        "vision_cfg": _vision(image),
        "text_cfg": _text(text, clip),
    }
    if dot.offset is not None:
        config |= {"init_logit_bias": float(dot.offset.detach())}
    return config


def _vision(image: VisionTransformer) -> dict[str, Any]:
    config: dict[str, Any] = {
        "image_size": image.size,
        "layers": image.depth,
        "width": image.width,
        "head_width": image.width // image.heads,
        "patch_size": image.patch,
    }
    if not image.embedding_norm:
        config["no_ln_pre"] = True
    if image.eps != 1e-5:
        config["norm_kwargs"] = {"eps": image.eps}
    return config


def _text(text: TextTransformer, clip: NativeClip) -> dict[str, Any]:
    config: dict[str, Any] = {
        "context_length": text.max_length,
        "vocab_size": text.vocab_size,
        "width": text.width,
        "heads": text.heads,
        "layers": text.depth,
    }
    if clip.words is not None:
        config["hf_tokenizer_name"] = "."  # any name: open_clip then reads the folder's own files
        if clip.end != text.vocab_size - 1:
            config |= {"pool_type": "eos", "eos_id": clip.end}
    return config


def _preprocess(pixels: ImageProcessor, image: VisionTransformer) -> tuple[dict[str, Any], list[str]]:
    """open_clip's words for how pixels are made, and what differs."""
    if pixels.resize == "pad":
        refuse("images are padded to a square (resize='pad')", _NAME)
    if pixels.resize == "shortest" and pixels.edge not in (None, pixels.size):
        refuse(
            f"images are resized to {pixels.edge} and cut to {pixels.size} (edge)", _NAME, "hf, onnx and safetensors"
        )
    if pixels.interpolation not in ("bicubic", "bilinear"):
        refuse(f"images are resized by {pixels.interpolation!r}", _NAME)
    config = {
        "size": image.size,
        "mode": "RGB",
        "mean": three(image.mean),
        "std": three(image.std),
        "interpolation": pixels.interpolation,
        "resize_mode": "squash" if pixels.resize == "squash" else "shortest",
    }
    return config, resize_notes(pixels, "even")


def resize_notes(pixels: ImageProcessor, centre: str) -> list[str]:
    """A sentence where the other library's resizing gives other pixels than ours.

    Args:
        pixels: our processor.
        centre: which pixel the other library takes for the centre, in our processor's words.
    """
    if pixels.resize == "crop":
        return [
            "images are resized before their centre is cut out, where Diptych cut first: embeddings of pictures that "
            "do not have the model's size yet differ by the rounding of pixels"
        ]
    if pixels.resize == "shortest" and pixels.centre != centre:
        return ["where the centre of a picture lies between two pixels, the other one is taken"]
    return []


def three(values: Sequence[float]) -> list[float]:
    """One number for each of three channels."""
    return [float(x) for x in (values if len(values) == 3 else [values[0]] * 3)]
