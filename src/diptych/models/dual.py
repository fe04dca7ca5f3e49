"""The dual encoder: an image tower, a text tower, a projection each into one space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from diptych.core.encoder import Encoder
from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import ConvNet, HubText, Projection, TextTransformer, TimmImage


@dataclass(frozen=True)
class Towers:
    """Which towers a model has; every dual-encoder recipe takes these.

    Attributes:
        image: "small" for our own, else the name of any timm backbone.
        image_weights: .safetensors file with weights for a timm backbone.
        image_options: further arguments of timm.create_model, e.g. {"pad_type": "same"}.
        image_mean: of each channel on [0, 1], as the weights were trained; default: timm's own for that backbone.
        image_std: likewise.
        image_size: side in pixels that images are resized to.
        colour: "RGB", or "L" for grey images (our own tower only).
        patch: side of a patch in pixels, of our own image tower.
        widths: of its stages.
        depths: residual blocks of its stages.
        text: "small" for our own, else a folder or hub name of a transformers text model.
        text_width: of our own text tower.
        text_depth: its number of blocks.
        vocab_size: most tokens that our own tokenizer learns.
        max_length: most tokens of a text; longer ones are cut and counted.
        width: of the embedding.
        hidden: width of the projections' MLP; 0 for linear projections.
        dropout: in our own text tower and in the projections' MLP.
        freeze: towers that are not trained; their features are computed once.
    """

    image: str = "small"
    image_weights: Path | None = None
    image_options: dict[str, str | int | float | bool] | None = None
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    image_size: int = 128
    colour: Literal["RGB", "L"] = "RGB"
    patch: int = 8
    widths: tuple[int, ...] = (64, 128, 256)
    depths: tuple[int, ...] = (2, 2, 2)
    text: str = "small"
    text_width: int = 256
    text_depth: int = 4
    vocab_size: int = 8192
    max_length: int = 64
    width: int = 256
    hidden: int = 0
    dropout: float = 0.0
    freeze: Literal["none", "image", "text", "both"] = "none"

    @property
    def frozen(self) -> tuple[str, ...]:
        """The frozen towers' names."""
        return {"none": (), "image": ("image",), "text": ("text",), "both": ("image", "text")}[self.freeze]


def dual_encoder(towers: Towers, *, parts: Mapping[str, nn.Module]) -> Model:
    """Put the two towers together.

    Args:
        towers: which they are.
        parts: of the model, e.g. `{"dot": Dot()}`.

    Raises:
        ValueError: if a tower is not to be had; the message says which and what is near.
    """
    image, image_processor = _image_tower(towers)
    text, text_processor = _text_tower(towers)
    for name, encoder in (("image", image), ("text", text)):
        encoder.requires_grad_(name not in towers.frozen)
    heads = {
        name: {"dense": Projection(encoder.width, towers.width, hidden=towers.hidden, dropout=towers.dropout)}
        for name, encoder in (("image", image), ("text", text))
    }
    processors = {"image": image_processor, "text": text_processor}
    return Model({"image": image, "text": text}, heads, parts, processors)


def _image_tower(towers: Towers) -> tuple[Encoder, ImageProcessor]:
    processor = ImageProcessor(towers.image_size, mode=towers.colour)
    if towers.image == "small":
        if towers.image_weights is not None:
            raise ValueError("--image-weights is for a timm backbone: name it too, e.g. --image mobilenetv2_100")
        encoder = ConvNet(
            processor.shape[0],
            patch=towers.patch,
            widths=towers.widths,
            depths=towers.depths,
            mean=towers.image_mean or (0.5,),
            std=towers.image_std or (0.25,),
        )
        return encoder, processor
    if towers.colour != "RGB":
        raise ValueError(f"--colour {towers.colour} is for our own image tower; timm's {towers.image!r} wants RGB")
    encoder = TimmImage(towers.image, options=towers.image_options, mean=towers.image_mean, std=towers.image_std)
    size = encoder.fixed_size
    if size is not None and size != towers.image_size:
        raise ValueError(f"timm's {towers.image!r} takes images of {size} pixels only: give --image-size {size}")
    if towers.image_weights is not None:
        encoder.load_weights(towers.image_weights)
    return encoder, processor


def _text_tower(towers: Towers) -> tuple[Encoder, TextProcessor]:
    if towers.text == "small":
        encoder = TextTransformer(
            towers.vocab_size,
            width=towers.text_width,
            depth=towers.text_depth,
            max_length=towers.max_length,
            dropout=towers.dropout,
        )
        return encoder, TextProcessor(towers.vocab_size, max_length=towers.max_length)
    return HubText.open(towers.text, max_length=towers.max_length)
