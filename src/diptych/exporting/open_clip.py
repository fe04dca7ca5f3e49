"""A CLIP of ours as a folder that open_clip opens: `create_model_and_transforms("local-dir:DIR")`.

Weights are renamed, not computed, so embeddings are equal but for the order of float32 sums. open_clip pools a text at
its highest token id; where our end token is not the highest, the configuration says `pool_type: eos`.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer
from diptych.encoders import TextTransformer, VisionTransformer
from diptych.exporting.native import NativeClip, left_out, native_clip, refuse
from diptych.exporting.open_clip_wrapped import is_wrapped, write_wrapped
from diptych.exporting.preprocessing import open_clip_pixels
from diptych.exporting.tokenizer import save_tokenizer
from diptych.models.opening.native_clip import clip_to_weights

_NAME = "open_clip"
_CLEAN = {True: "lower", False: "whitespace"}
"""What is done to a text where nothing else is said: for CLIP's own vocabulary, or not."""


def write_open_clip(model: Model, folder: Path) -> list[str]:
    """Write `open_clip_config.json`, `open_clip_model.safetensors` and, with a tokenizer, its files.

    Args:
        model: as `clip_from_weights` builds it, or of open_clip's own towers; also after training.
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        CannotExport: if a part cannot be said in open_clip's terms.
    """
    if is_wrapped(model):
        return write_wrapped(model, folder)
    clip = native_clip(model, _NAME)
    preprocess, notes = open_clip_pixels(clip.pixels, clip.image.mean, clip.image.std)
    config = {"model_cfg": _model_config(clip), "preprocess_cfg": preprocess}
    save_file(clip_to_weights(model), folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    if clip.words is None or clip.end is None:
        notes.append("the model has no tokenizer of its own: open_clip's default is used")
    elif clip.words.definition is not None:
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
    if clip.words is not None and clip.words.definition is not None:
        config["hf_tokenizer_name"] = "."  # any name: open_clip then reads the folder's own files
    if isinstance(clip.words, OpenClipTokenizer) and clip.words.clean != _CLEAN[clip.words.definition is None]:
        config["tokenizer_kwargs"] = {"clean": clip.words.clean}
    if clip.end not in (None, text.vocab_size - 1):
        config |= {"pool_type": "eos", "eos_id": clip.end}
    return config
