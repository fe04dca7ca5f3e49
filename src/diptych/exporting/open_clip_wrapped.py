"""Towers of open_clip, wrapped and maybe trained further, back as a folder that open_clip opens.

The towers are open_clip's own modules, so their configurations and weights are written as they are, under the names of
its model of two separate towers (`custom_text`). A captioning decoder is not part of our towers and is left out.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer

from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer
from diptych.data.processors import ImageProcessor
from diptych.encoders import UnitLength
from diptych.encoders.open_clip_image import OpenClipImage
from diptych.encoders.open_clip_text import OpenClipClassText, OpenClipHubText, OpenClipText
from diptych.exporting.native import left_out, refuse, scorer
from diptych.exporting.preprocessing import open_clip_pixels

_NAME = "open_clip"


def is_wrapped(model: Model) -> bool:
    """Whether both towers are open_clip's own."""
    towers = [dict(model.towers.named_children()).get(name) for name in ("image", "text")]
    return isinstance(towers[0], OpenClipImage) and isinstance(towers[1], OpenClipText | OpenClipHubText)


def write_wrapped(model: Model, folder: Path) -> list[str]:
    """Write `open_clip_config.json`, `open_clip_model.safetensors` and, with a tokenizer of its own, its files.

    Args:
        model: for which `is_wrapped` is true.
        folder: to write into.

    Returns:
        Sentences on what is not the same there.

    Raises:
        diptych.exporting.native.CannotExport: if a head, the scorer or a processor is none of open_clip's.
    """
    image, text = model.towers["image"], model.towers["text"]
    assert isinstance(image, OpenClipImage) and isinstance(text, OpenClipText | OpenClipHubText)
    for name in ("image", "text"):
        head = dict(model.heads[name].named_children()).get("dense")
        if not isinstance(head, UnitLength):
            refuse(f"the head 'dense' of the {name} tower is a {type(head).__name__}, not UnitLength", _NAME)
    pixels, words, dot = model.processors.get("image"), model.processors.get("text"), scorer(model, _NAME)
    if not isinstance(pixels, ImageProcessor) or not isinstance(words, OpenClipTokenizer):
        refuse(f"the processors are {type(pixels).__name__} and {type(words).__name__}, not open_clip's", _NAME)
    preprocess, notes = open_clip_pixels(pixels, image.mean, image.std)
    config: dict[str, Any] = {
        "embed_dim": image.embed_dim,
        "vision_cfg": {**image.vision_cfg, "output_tokens": False},
        "text_cfg": _text(text, words),
        "quick_gelu": image.quick_gelu,
        "custom_text": True,
    }
    weights = {f"visual.{name}": x for name, x in image.tower.state_dict().items()}
    weights |= {f"text.{name}": x for name, x in text.tower.state_dict().items()}
    weights["logit_scale"] = dot.current_scale().detach().log()
    if dot.offset is not None:
        config["init_logit_bias"] = float(dot.offset.detach())
        weights["logit_bias"] = dot.offset.detach()
    save_file(
        {name: x.detach().cpu().clone().contiguous() for name, x in weights.items()},
        folder / "open_clip_model.safetensors",
        metadata={"format": "pt"},
    )
    content = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content, indent=1))
    if words.definition is not None:
        _save_tokenizer(words, folder)
    if isinstance(text, OpenClipClassText):
        notes.append("the decoder that writes captions is left out; embeddings do not need it")
    return notes + left_out(model)


def _text(text: OpenClipText | OpenClipHubText, words: OpenClipTokenizer) -> dict[str, Any]:
    """Its configuration, with the tokenizer in the same folder."""
    config = {name: x for name, x in text.text_cfg.items() if name not in ("hf_tokenizer_name", "tokenizer_kwargs")}
    options: dict[str, Any] = {"clean": words.clean}
    if words.definition is not None:
        config["hf_tokenizer_name"] = "."  # any name: open_clip then reads the folder's own files
        if words.zeroed is not None:
            options["strip_sep_token"] = True
    config |= {"tokenizer_kwargs": options, "output_tokens": False}
    if isinstance(text, OpenClipHubText):
        return config | {"hf_model_pretrained": False, "context_length": words.max_length}
    return config | {"context_length": text.places}


def _save_tokenizer(words: OpenClipTokenizer, folder: Path) -> None:
    """As the files of `transformers`."""
    from transformers import PreTrainedTokenizerFast

    assert words.definition is not None
    tokenizer = Tokenizer.from_str(words.definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    marks = {"pad_token": words.pad_id, "sep_token": words.zeroed}
    named = {name: tokenizer.id_to_token(number) for name, number in marks.items() if number is not None}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=words.max_length,
        clean_up_tokenization_spaces=False,
        **named,  # type: ignore[arg-type]
    ).save_pretrained(folder)
