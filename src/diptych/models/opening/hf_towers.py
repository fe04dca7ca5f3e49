"""Towers of ours around modules of `transformers`: rebuilt from their configuration, with the checkpoint's weights.

What a tower does not use (a pooling layer that nothing reads, cross-attention of a retrieval tower) is left out, so
that every weight is trained and none is random. Learned absolute places are stretched where longer texts are wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from diptych.data.processors import TooLong
from diptych.encoders import HubImage, HubText, Projection, UnitLength
from diptych.encoders.hub import plain_config
from diptych.encoders.hub_image import ImagePooling
from diptych.encoders.hub_text import TextPooling
from diptych.models.opening.hf_pixels import pixels_of
from diptych.models.opening.hf_words import words_of
from diptych.models.opening.stretch import stretched
from diptych.models.opening.tower import Tower

_PLACES = ("position_embedding", "position_embeddings")


def image_tower(
    name: str, module: Any, head: Projection | UnitLength | None, *, pooling: ImagePooling, missing: Collection[str]
) -> Tower:
    """An image module with its preprocessing.

    Args:
        name: of the checkpoint.
        module: with its weights.
        head: its projection; None for unit length.
        pooling: what the head projects.
        missing: names within the module that the checkpoint has no weights for.
    """
    pixels = pixels_of(name)
    encoder = HubImage(
        plain_config(module.config), pooling=pooling, width=_features(head), mean=pixels.mean, std=pixels.std
    )
    _fill(name, encoder.backbone, module.state_dict(), missing)
    _try(name, encoder, pixels.processor([Image.new("RGB", (8, 8))]))
    return Tower(encoder, pixels.processor, head or UnitLength(encoder.width))


def text_tower(
    name: str,
    module: Any,
    head: Projection | UnitLength | None,
    *,
    pooling: TextPooling,
    missing: Collection[str],
    fill: bool,
    max_length: int | None,
    too_long: TooLong,
    usual: int | None = None,
) -> Tower:
    """A text module with its tokenizer.

    Args:
        name, module, head, pooling, missing: as for `image_tower`.
        fill: whether every text is as long as may be.
        max_length: tokens of a text; None for what the module, its tokenizer and `usual` all allow.
        too_long: what becomes of texts of more tokens.
        usual: tokens that the checkpoint says elsewhere it was made for.
    """
    config, weights, words = plain_config(module.config), module.state_dict(), words_of(name)
    if config["model_type"] == "blip_text_model":
        config["is_decoder"] = False  # its cross-attention is for captions and matching
    learned = _learned_places(module)
    places = learned[1] if learned else config.get("max_position_embeddings")
    length = max_length or min(x for x in (places, words.length, usual, 10**9) if x)
    if length == 10**9:
        raise ValueError(f"hf:{name} does not say how long its texts may be: give max_length")
    if places and length > places:
        if learned is None:
            raise ValueError(
                f"hf:{name} reads up to {places} tokens, and max_length is {length}: its places are not learned one by "
                "one, so there are none to stretch"
            )
        path, _, before = learned
        weights[path] = torch.cat([weights[path][:before], stretched(weights[path][before:], length)])
        config["max_position_embeddings"] = before + length
    encoder = HubText(
        config,
        pooling=pooling,
        width=_features(head),
        pooler=pooling == "own",
        masked=words.masked,
        padding=words.padding,
    )
    _fill(name, encoder.backbone, weights, missing)
    processor = words.processor(length, fill=fill, too_long=too_long)
    _try(name, encoder, processor(["a"]))
    return Tower(encoder, processor, head or UnitLength(encoder.width))


def _learned_places(module: Any) -> tuple[str, int, int] | None:
    """The weight with a row for each place, how many places it has, and the rows before the first; None if none has.

    RoBERTa's places begin after the row of the padding.
    """
    for path, found in module.named_modules():
        if path.split(".")[-1] in _PLACES and isinstance(found, nn.Embedding):
            before = 0 if found.padding_idx is None else found.padding_idx + 1
            return f"{path}.weight", found.num_embeddings - before, before
    return None


def _features(head: Projection | UnitLength | None) -> int | None:
    """Channels that a head takes; None where there is no head yet."""
    return head.features if isinstance(head, Projection) else None if head is None else head.width


def _try(name: str, encoder: HubImage | HubText, inputs: Mapping[str, Tensor]) -> None:
    """Encode one row, so that what does not fit together shows when it is opened.

    Raises:
        ValueError: if the tower does not take what its processor makes, or does not pool as it should.
    """
    try:
        with torch.no_grad():
            found = encoder.eval()(inputs).pooled.shape[1]
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"hf:{name} cannot be run on what its own files make of an input: {error}") from error
    if found != encoder.width:
        raise ValueError(f"hf:{name} pools {found} channels; its configuration says {encoder.width}")


def _fill(name: str, own: nn.Module, weights: Mapping[str, Tensor], missing: Collection[str]) -> None:
    """Give a rebuilt module the weights of the checkpoint's.

    Raises:
        ValueError: if the checkpoint lacks some.
    """
    wanted = set(own.state_dict())
    absent = sorted((wanted - set(weights)) | (wanted & set(missing)))
    if absent:
        raise ValueError(f"hf:{name} has no weights for {absent[:5]} ({len(absent)} in all)")
    own.load_state_dict({weight: weights[weight] for weight in wanted})
