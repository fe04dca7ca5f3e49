"""What makes the inputs of a model of open_clip: its transform for evaluation, and its tokenizer.

Pixels are those of open_clip within rounding, token ids are equal.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

from typing import Any

from diptych.data.open_clip_text import OpenClipTokenizer, open_clip_library
from diptych.data.processors import ImageProcessor, TooLong
from diptych.models.opening.open_clip_source import CONFIG, Source

_OPTIONS = {"use_fast", "add_prefix_space", "do_lower_case", "model_max_length"}
"""Of a tokenizer of `transformers`; a checkpoint may set no others, such as one that lets it run code."""


def image_processor(source: Source, size: int) -> ImageProcessor:
    """What open_clip's transform for evaluation does to images, without the normalisation."""
    pixels = source.pixels
    resize, kind = pixels.get("resize_mode") or "shortest", pixels.get("interpolation") or "bicubic"
    resizes = {"shortest": "shortest", "squash": "squash", "longest": "pad"}
    kinds = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
    if resize not in resizes or kind not in kinds or pixels.get("mode", "RGB") != "RGB":
        raise ValueError(
            f"{source.name}: images in mode {pixels.get('mode', 'RGB')!r}, resized by {resize!r} and {kind!r}; known "
            f"are 'RGB', {sorted(resizes)} and {sorted(kinds)}"
        )
    size = size[0] if isinstance(size, list | tuple) else size
    return ImageProcessor(
        size,
        resize=resizes[resize],  # type: ignore[arg-type]
        interpolation=kinds[kind],  # type: ignore[arg-type]
        fill=int(pixels.get("fill_color") or 0),
        draft=False,
    )


def tokenizer(
    source: Source, length: int, too_long: TooLong, *, fill: int | None, stops: bool = False
) -> OpenClipTokenizer:
    """The tokenizer that open_clip has for a model.

    Args:
        source: of the model.
        length: most tokens of a text.
        too_long: what becomes of longer ones.
        fill: tokens that every text is filled up to; None for no more than the longest of the batch.
        stops: end a text at the first end that is written out in it.
    """
    text = source.config["text_cfg"]
    options = dict(text.get("tokenizer_kwargs") or {})
    name = text.get("hf_tokenizer_name")
    if name:
        return _hub_tokenizer(source, name, options, length, too_long, fill)
    if other := sorted(set(options) - {"clean"}):
        raise ValueError(f"{source.name}: its tokenizer has the options {other}; only 'clean' is known")
    end = open_clip_library().tokenizer._tokenizer.eot_token_id if stops else None
    return OpenClipTokenizer(
        clean=options.get("clean", "lower"), max_length=length, fill=fill, stop_at=end, too_long=too_long
    )


def _hub_tokenizer(
    source: Source, name: str, options: dict[str, Any], length: int, too_long: TooLong, fill: int | None
) -> OpenClipTokenizer:
    """A tokenizer of `transformers`, from the model's folder if it is there, else by its name."""
    from transformers import AutoTokenizer

    clean, strip = options.pop("clean", "whitespace"), options.pop("strip_sep_token", False)
    language = options.pop("language", None)
    place = str(source.tokenizer or name)
    if other := sorted(set(options) - _OPTIONS):
        raise ValueError(f"{source.name}: its tokenizer has the options {other}; only {sorted(_OPTIONS)} are known")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{source.name}: cannot open its tokenizer {place!r}: {error}; put its tokenizer.json and "
            f"tokenizer_config.json into a folder with {CONFIG} and the weights, and open that"
        ) from error
    if language is not None:
        tokenizer.set_src_lang_special_tokens(language)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    sides = (tokenizer.padding_side, tokenizer.truncation_side)
    mode = source.config["text_cfg"].get("tokenizer_mode")
    if backend is None or tokenizer.pad_token_id is None or sides != ("right", "right") or mode:
        raise ValueError(
            f"{source.name}: its tokenizer {place!r} is of a kind that is not known here: fast "
            f"{backend is not None}, pad id {tokenizer.pad_token_id}, pads and cuts {sides}, mode {mode!r}; expected a "
            "fast one with a pad id that pads and cuts on the right, with no mode"
        )
    return OpenClipTokenizer(
        backend.to_str(),
        clean=clean,
        max_length=length,
        pad_id=tokenizer.pad_token_id,
        fill=fill,
        zeroed=tokenizer.sep_token_id if strip else None,
        too_long=too_long,
    )
