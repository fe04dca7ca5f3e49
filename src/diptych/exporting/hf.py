"""A CLIP of ours as a folder that `transformers` opens: `CLIPModel.from_pretrained(DIR)`, with its processors.

Weights are renamed and queries, keys and values cut apart, not computed, so embeddings are equal but for the order of
float32 sums. CLIPModel pools a text at the first end token and always has a LayerNorm before its first block.

Sources: Radford et al. 2021, arXiv 2103.00020; Wolf et al. 2020, arXiv 1910.03771.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer
from diptych.exporting.hf_wrapped import is_wrapped, write_wrapped
from diptych.exporting.native import CannotExport, NativeClip, left_out, native_clip, refuse
from diptych.exporting.preprocessing import hf_pixels
from diptych.exporting.tokenizer import save_tokenizer
from diptych.models.clip_names import to_hf
from diptych.models.opening.native_clip import clip_to_weights

if TYPE_CHECKING:
    from transformers import CLIPConfig

_NAME = "transformers"
_HIGHEST = 2
"""CLIPModel with this end token pools at the highest id, as models without a tokenizer of their own are used."""


def write_hf(model: Model, folder: Path) -> list[str]:
    """Write `config.json`, `model.safetensors`, `preprocessor_config.json` and, with a tokenizer, its files.

    Args:
        model: as `clip_from_weights` builds it, or of two towers of one model of `transformers`; also after training.
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        CannotExport: if a part cannot be said in the terms of CLIPModel.
    """
    if is_wrapped(model):
        return write_wrapped(model, folder)
    clip = native_clip(model, _NAME)
    if not clip.image.embedding_norm:
        refuse("the image tower has no LayerNorm after its embedding", _NAME, "open_clip, onnx and safetensors")
    if clip.dot.offset is not None:
        refuse("the scorer has a bias", _NAME, "open_clip, onnx and safetensors")
    from transformers import CLIPImageProcessor, CLIPModel  # takes seconds

    preprocess, notes = hf_pixels(clip.pixels, clip.image.mean, clip.image.std)
    pad = clip.end
    if clip.words is None or clip.end is None:
        notes.append("the model has no tokenizer of its own: give it the token ids that it was made for")
    elif clip.end == _HIGHEST and clip.text.vocab_size > _HIGHEST + 1:
        raise CannotExport(
            f"texts end with the token {_HIGHEST}, which transformers takes as a sign to pool at the highest id; "
            "the model can be exported --to open_clip, onnx and safetensors"
        )
    else:
        pad = save_tokenizer(clip.words, folder, end=clip.end)
        if isinstance(clip.words, OpenClipTokenizer):
            notes.append(f"texts are not cleaned first, as open_clip does (clean={clip.words.clean!r})")
    theirs = CLIPModel(_config(clip, pad))
    theirs.load_state_dict(to_hf(clip_to_weights(model)))
    theirs.save_pretrained(folder)
    CLIPImageProcessor(**preprocess).save_pretrained(folder)
    return notes + left_out(model)


def _config(clip: NativeClip, pad: int | None) -> CLIPConfig:
    from transformers import CLIPConfig

    image, text = clip.image, clip.text
    vision = {
        "image_size": image.size,
        "patch_size": image.patch,
        "hidden_size": image.width,
        "intermediate_size": 4 * image.width,
        "num_hidden_layers": image.depth,
        "num_attention_heads": image.heads,
        "hidden_act": image.activation,
        "layer_norm_eps": image.eps,
    }
    words = {
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.max_length,
        "hidden_size": text.width,
        "intermediate_size": 4 * text.width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "hidden_act": text.activation,
        "bos_token_id": None,
        "eos_token_id": _HIGHEST if clip.end is None else clip.end,
        "pad_token_id": pad,
    }
    same = {"projection_dim": clip.width}
    return CLIPConfig(text_config=words | same, vision_config=vision | same, projection_dim=clip.width)
