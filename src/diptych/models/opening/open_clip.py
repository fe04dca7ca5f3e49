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
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer, open_clip_library
from diptych.data.processors import ImageProcessor, TooLong
from diptych.encoders import UnitLength
from diptych.encoders.open_clip_image import OpenClipImage, image_tower
from diptych.encoders.open_clip_text import OpenClipClassText, OpenClipHubText, OpenClipText, text_tower
from diptych.models.opening.native_clip import MEAN, STD, clip_from_weights, is_native
from diptych.models.opening.stretch import stretched
from diptych.models.opening.tower import Tower, assembled
from diptych.scoring.dot import Dot

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""Names that open_clip gives weights, the preferred first."""
HUB = "hf-hub:"
_CONFIG = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "multimodal_cfg",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
    "output_dict",
    "pad_id",
}
_TEXT = ("positional_embedding", "token_embedding", "transformer", "ln_final", "text_projection")
"""What a text tower's weights begin with where open_clip keeps them beside the image tower's, not under `text`."""

_NOT_KEPT = {"_name_or_path", "transformers_version", "dtype", "torch_dtype"}
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "*.model")
_UNPICKLED = (
    "pickles are never opened; convert them once with open_clip.create_model(...) and safetensors.torch.save_file("
    f"model.state_dict(), {WEIGHTS[0]!r}), and open the folder with {CONFIG} beside it"
)


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: as it was asked for, for messages.
        config: open_clip's configuration of the model.
        pixels: open_clip's configuration of the preprocessing.
        weights: the file; None for random weights.
        tokenizer: folder with the files of a tokenizer of `transformers`, if there is one.
    """

    name: str
    config: Mapping[str, Any]
    pixels: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    tokenizer: Path | None = None


def open_open_clip(name: str, *, max_length: int | None, too_long: TooLong, wrapped: bool) -> Model:
    """A model of open_clip, in eval mode on the CPU, in float32.

    Args:
        name: see above.
        max_length: tokens of a text; None for the tower's own. More stretches its places, less cuts earlier.
        too_long: what becomes of texts of more tokens.
        wrapped: keep open_clip's modules also where ours give the same answers faster.

    Raises:
        ModuleNotFoundError: if open_clip is missing.
        ValueError: if there is no such model, or it cannot be opened; the message says why and what can.

    Example:
        `model = open_open_clip("ViT-B-32/openai", max_length=None, too_long="cut", wrapped=False)`
    """
    open_clip_library()
    source = find(name)
    _understand(source)
    weights = None if source.weights is None else _read(source.weights)
    if is_native(source.config) and not wrapped:
        return _native(source, weights, max_length, too_long)
    return _wrapped(source, weights, max_length, too_long)


def find(name: str) -> Source:
    """The configuration, and the files, of a model by its name.

    Raises:
        ValueError: if there is none; the message names what is near.
    """
    if name.startswith(HUB):
        return _in_folder(_from_hub(name.removeprefix(HUB), WEIGHTS[:1], also=(CONFIG,)), name)
    if Path(name).is_dir():
        return _in_folder(Path(name), name)
    arch, _, tag = name.partition("/")
    library = open_clip_library()
    config = library.get_model_config(arch)
    if config is None:
        near = get_close_matches(arch, library.list_models(), 5, 0.4)
        raise ValueError(
            f"there is no folder {name!r}, and open_clip has no architecture {arch!r}; near it: "
            f"{', '.join(near) or 'see open_clip.list_models()'}"
        )
    return Source(name, deepcopy(config)) if not tag else _tagged(name, config, arch, tag)


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


def _understand(source: Source) -> None:
    """Raise if the configuration is of a kind that cannot be opened."""
    if unknown := sorted(set(source.config) - _CONFIG):
        raise ValueError(
            f"{source.name}: its configuration has {unknown}; only models of an image and a text tower can be opened "
            f"(known are {sorted(_CONFIG)})"
        )
    if missing := sorted({"embed_dim", "vision_cfg", "text_cfg"} - set(source.config)):
        raise ValueError(f"{source.name}: its configuration lacks {missing}")


def _native(source: Source, weights: dict[str, Tensor] | None, max_length: int | None, too_long: TooLong) -> Model:
    """As towers of ours."""
    config = source.config
    vision, text = config["vision_cfg"], config["text_cfg"]
    if weights is None:
        weights = dict(open_clip_library().CLIP(config["embed_dim"], vision, text, _quick(config)).state_dict())
    length = max_length or text.get("context_length", 77)
    places = weights.get("positional_embedding", torch.zeros(0))
    model = clip_from_weights(
        {**weights, "positional_embedding": stretched(places, max(length, len(places)))},
        parts={"dot": _dot(weights.get("logit_scale"), None)},
        quick_gelu=_quick(config),
        heads=(vision.get("width", 768) // vision.get("head_width", 64), text.get("heads", 8)),
        mean=_each(source.pixels.get("mean") or MEAN),
        std=_each(source.pixels.get("std") or STD),
    )
    model.processors = {
        "image": _image_processor(source, vision.get("image_size", 224)),
        "text": _tokenizer(source, length, too_long, fill=None, stops=True),
    }
    return model.eval()


def _wrapped(source: Source, weights: dict[str, Tensor] | None, max_length: int | None, too_long: TooLong) -> Model:
    """As towers of open_clip."""
    config = source.config
    image, text = towers(source, places=max_length)
    length = max_length or config["text_cfg"].get("context_length", 77)
    if text.places is not None and length > text.places:
        raise ValueError(
            f"{source.name}: the text tower {config['text_cfg']['hf_model_name']!r} has places for {text.places} tokens, "
            f"fewer than max_length, {length}, and they cannot be stretched"
        )
    scale, bias = torch.tensor(config.get("init_logit_scale", math.log(1 / 0.07))), config.get("init_logit_bias")
    if weights is not None:
        _load(source, image, text, weights)
        scale, bias = weights.get("logit_scale", scale), weights.get("logit_bias")
    return assembled(
        Tower(image, _image_processor(source, image.size), UnitLength(image.width)),
        Tower(text, _tokenizer(source, length, too_long, fill=text.filled), UnitLength(text.width)),
        _dot(scale, bias),
    )


def _load(
    source: Source, image: OpenClipImage, text: OpenClipText | OpenClipHubText, weights: Mapping[str, Tensor]
) -> None:
    """Give the towers their weights; a decoder's are left out."""
    named = {f"text.{name}" if name.partition(".")[0] in _TEXT else name: x for name, x in weights.items()}
    named.pop("text.transformer.embeddings.position_ids", None)  # older versions of `transformers` saved them
    places = named.get("text.positional_embedding")
    if places is not None and isinstance(text, OpenClipText):
        last = int(isinstance(text, OpenClipClassText))  # the class token's place stays the last
        first = stretched(places[: len(places) - last], text.places)
        named["text.positional_embedding"] = torch.cat([first, places[len(places) - last :]])
    for tower, prefix in ((image.tower, "visual."), (text.tower, "text.")):
        try:
            tower.load_state_dict({n.removeprefix(prefix): x for n, x in named.items() if n.startswith(prefix)})
        except RuntimeError as error:
            raise ValueError(f"{source.weights} does not fit the configuration of {source.name}: {error}") from error


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


def _image_processor(source: Source, size: int) -> ImageProcessor:
    """What open_clip's transform for evaluation does to images, without the normalisation."""
    pixels = source.pixels
    resize, kind = pixels.get("resize_mode") or "shortest", pixels.get("interpolation") or "bicubic"
    resizes = {"shortest": "shortest", "squash": "squash", "longest": "pad"}
    kinds = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
    if resize not in resizes or kind not in kinds or pixels.get("mode", "RGB") != "RGB":
        raise ValueError(
            f"{source.name}: images in mode {pixels.get('mode', 'RGB')!r}, resized by {resize!r} and {kind!r}; known are "
            f"'RGB', {sorted(resizes)} and {sorted(kinds)}"
        )
    size = size[0] if isinstance(size, list | tuple) else size
    return ImageProcessor(
        size,
        resize=resizes[resize],  # type: ignore[arg-type]
        interpolation=kinds[kind],  # type: ignore[arg-type]
        fill=int(pixels.get("fill_color") or 0),
        draft=False,
    )


def _tokenizer(
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
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
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


def _hub_config(name: str) -> dict[str, Any]:
    """The configuration of a model of `transformers`, as plain values."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the text tower is the model {name!r} of transformers, whose configuration cannot be read: {error}; go "
            "online once, or write a folder with its config.json as text_cfg.hf_model_name"
        ) from error
    content = json.loads(config.to_json_string(use_diff=False))
    return {key: x for key, x in content.items() if key not in _NOT_KEPT}


def _in_folder(folder: Path, name: str) -> Source:
    """The model of a folder as open_clip puts one on the hub."""
    try:
        content = json.loads((folder / CONFIG).read_text())
        config = content["model_cfg"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name} is no model of open_clip: its {CONFIG} cannot be read: {error!r}") from error
    weights = next((folder / file for file in WEIGHTS if (folder / file).exists()), None)
    if weights is None:
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".npz"))
        raise ValueError(f"{name} has no {WEIGHTS[0]}" + (f", only {pickled}: {_UNPICKLED}" if pickled else ""))
    tokenizer = folder if (folder / "tokenizer_config.json").exists() else None
    return Source(name, config, content.get("preprocess_cfg") or {}, weights, tokenizer)


def _tagged(name: str, config: Mapping[str, Any], arch: str, tag: str) -> Source:
    """An architecture with the weights of a tag, and the pixels and activations they were trained with."""
    pretrained = open_clip_library().get_pretrained_cfg(arch, tag)
    if not pretrained:
        tags = open_clip_library().list_pretrained_tags_by_model(arch)
        near = get_close_matches(tag, tags, 5, 0.3) or tags
        raise ValueError(f"open_clip has no weights {tag!r} of {arch}; it has: {', '.join(near) or 'none'}")
    repository, _, file = str(pretrained.get("hf_hub") or "").rpartition("/")
    if not repository:
        raise ValueError(f"the weights {tag!r} of {arch} are pickled, at {pretrained.get('url')}: {_UNPICKLED}")
    wanted = (f"{Path(file).stem}.safetensors",) if file else WEIGHTS[:1]
    folder = _from_hub(repository, wanted)
    weights = next((folder / one for one in wanted if (folder / one).exists()), None)
    if weights is None:
        raise ValueError(f"the weights {tag!r} of {arch} are only pickled on the hub ({repository}): {_UNPICKLED}")
    tokenizer = folder if (folder / "tokenizer_config.json").exists() else None
    changed = {**deepcopy(config), "quick_gelu": pretrained.get("quick_gelu", config.get("quick_gelu", False))}
    return Source(name, changed, pretrained, weights, tokenizer)


def _from_hub(repository: str, weights: tuple[str, ...], *, also: tuple[str, ...] = ()) -> Path:
    """A folder with the files wanted of a place on the hub, those that are there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=[*weights, *also, *_TOKENIZER]))
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot fetch {repository} from the hub: {error}") from error


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
