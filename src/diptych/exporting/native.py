"""Which of our models are CLIP as open_clip and `transformers` know it, and what stands in the way where one is not.

image: VisionTransformer, class token            -> linear projection, unit length
text:  causal TextTransformer, its last token    -> linear projection, unit length
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from diptych.core.model import Model
from diptych.data.open_clip_text import OpenClipTokenizer
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import HubImage, HubText, Projection, TextTransformer, VisionTransformer
from diptych.encoders.open_clip_image import OpenClipImage
from diptych.encoders.open_clip_text import OpenClipHubText, OpenClipText
from diptych.scoring import Dot


class CannotExport(ValueError):
    """A model has a part that the target's library cannot say; the message names it, and the targets that can."""


@dataclass(frozen=True)
class NativeClip:
    """The pieces of a model that is a CLIP.

    Attributes:
        image: the image tower.
        text: the text tower.
        dot: the scorer.
        width: of the embedding.
        pixels: makes the image tower's inputs.
        words: makes the text tower's; None where the model takes token ids only.
        end: id of the token that ends every text; None where there is no tokenizer to tell.
    """

    image: VisionTransformer
    text: TextTransformer
    dot: Dot
    width: int
    pixels: ImageProcessor
    words: TextProcessor | OpenClipTokenizer | None
    end: int | None


def refuse(part: str, target: str, able: str = "onnx and safetensors") -> NoReturn:
    """Say that a part cannot be said in the target's terms.

    Args:
        part: what of the model it is, as a sentence.
        target: whose terms.
        able: the targets that can take the model.

    Raises:
        CannotExport: always.
    """
    raise CannotExport(f"{part}; {target} has no model of that kind. It can be exported --to {able}")


def native_clip(model: Model, target: str) -> NativeClip:
    """The model's pieces, checked against what every CLIP has.

    Args:
        model: to export.
        target: whose terms; for the message.

    Raises:
        CannotExport: naming the first part that is another.
    """
    towers = {name: type(tower).__name__ for name, tower in model.towers.items()}
    if set(towers) != {"image", "text"}:
        refuse(f"the towers are {sorted(towers)}, not one 'image' and one 'text'", target)
    image, text = model.towers["image"], model.towers["text"]
    able = "onnx and safetensors"
    if isinstance(image, OpenClipImage) and isinstance(text, OpenClipText | OpenClipHubText):
        able = f"open_clip, {able}"
    elif isinstance(image, HubImage) and isinstance(text, HubText):
        able = f"hf, {able}"
    if not isinstance(image, VisionTransformer):
        refuse(f"the image tower is a {towers['image']}, not a VisionTransformer", target, able)
    if not isinstance(text, TextTransformer):
        refuse(f"the text tower is a {towers['text']}, not a causal TextTransformer", target, able)
    if image.pooling != "first":
        refuse(f"the image tower's pooling is {image.pooling!r}, not the class token", target)
    if image.patch_bias:
        refuse("the image tower has patch_bias=True", target)
    if image.channels != 3:
        refuse(f"the image tower takes {image.channels} channel(s), not 3", target)
    if not text.causal or text.pooling != "last":
        refuse(f"the text tower has causal={text.causal} and pooling {text.pooling!r}, not True and 'last'", target)
    width = _width(model, "image", target)
    _width(model, "text", target)
    dot = scorer(model, target)
    pixels, words = model.processors.get("image"), model.processors.get("text")
    if not isinstance(pixels, ImageProcessor):
        refuse(f"the image processor is a {type(pixels).__name__}, not an ImageProcessor", target)
    if words is not None and not isinstance(words, TextProcessor | OpenClipTokenizer):
        refuse(f"the text processor is a {type(words).__name__}, not a TextProcessor or OpenClipTokenizer", target)
    return NativeClip(image, text, dot, width, pixels, words, _end(words, target) if words else None)


def _width(model: Model, name: str, target: str) -> int:
    """Of the embedding, from a head that must be a plain linear projection."""
    head = dict(model.heads[name].named_children()).get("dense")
    if not isinstance(head, Projection):
        refuse(f"the head 'dense' of the {name} tower is a {type(head).__name__}, not a Projection", target)
    for part, there in (("layer_norm", head.layer_norm), ("hidden", head.hidden), ("bias", head.bias)):
        if there:
            refuse(f"the {name} tower's projection has {part}={there}, not a linear map alone", target)
    return head.width


def scorer(model: Model, target: str) -> Dot:
    """The part `"dot"`.

    Raises:
        CannotExport: if there is none, or it is of another kind.
    """
    dot = dict(model.parts.named_children()).get("dot")
    if not isinstance(dot, Dot):
        refuse(f"the parts are {sorted(model.parts)}, none of them a Dot named 'dot'", target)
    return dot


def _end(words: TextProcessor | OpenClipTokenizer, target: str) -> int:
    """The id that ends every text."""
    if isinstance(words, TextProcessor) and words.definition is None:
        raise CannotExport("the text processor has no vocabulary yet: train the model first")
    ends = {tuple(row[-1:].tolist()) for row in words.encode(["", "a", "1"])[0]}
    if len(ends) > 1 or ends == {()}:
        refuse("the text processor does not end every text with the same token, at which texts are pooled", target)
    return ends.pop()[0]


def left_out(model: Model) -> list[str]:
    """Sentences on what of the model no CLIP has and its embeddings do not need."""
    heads = [
        f"{name}/{space}" for name in model.heads for space, _ in model.heads[name].named_children() if space != "dense"
    ]
    parts = [name for name in model.parts if name != "dot"]
    said = [f"heads left out: {', '.join(heads)}"] if heads else []
    return said + ([f"parts left out: {', '.join(parts)}"] if parts else [])
