"""A model that looks like one of open_clip, so that what was written for those (`clip_benchmark`) runs on it unchanged.

    face = as_open_clip(model);  face.encode_image(images), face.encode_text(ids), face.transform, face.tokenizer

Pixels pass through as `pixels / 255` and are taken back exactly, the tower normalises them itself; ids carry -1
where there is padding, since a padding id may be a real word. So the vectors are those that `embed` gives.

Use it to measure a model by another library's code. Our own evaluation means the same by recall (a hit if any right
row is among the first k), with these differences: equal captions of two images are right answers to both in ours, and
only to their own image there; ties are lost in ours, and left to the sort there; ours keeps the features of frozen
towers in bf16, which moves them by up to 2**-8 of their values; and a processor with `draft` decodes large JPEGs at a
fraction of their size, while Pillow images come to `transform` in full.

Sources: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773); Cherti and Beaumont 2022, CLIP benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, Tokenizing
from diptych.scoring.dot import Dot

PADDING = -1
"""Marks places without a token."""


@dataclass(frozen=True)
class Transform:
    """An image to what `encode_image` takes; cheap to send to the workers of a `DataLoader`."""

    processor: ImageProcessor

    def __call__(self, image: Any) -> Tensor:
        """A Pillow image (or a path, or bytes) to `[C, H, W]` float32 on [0, 1]."""
        return self.processor([image])["pixels"][0].float() / 255


@dataclass(frozen=True)
class TokenIds:
    """Texts to what `encode_text` takes.

    Attributes:
        processor: tokenizes, and cuts longer texts.
        context_length: T, of every row.
    """

    processor: Tokenizing
    context_length: int

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """One text or N to `[N, T]` int64, `PADDING` where there is no token."""
        tokens = self.processor([texts] if isinstance(texts, str) else list(texts))
        ids = tokens["ids"].masked_fill(~tokens["mask"], PADDING)
        return F.pad(ids, (0, self.context_length - ids.shape[1]), value=PADDING)


@dataclass(frozen=True)
class Visual:
    """What open_clip's models say of their images.

    Attributes:
        image_size: (height, width) in pixels.
        image_mean, image_std: of what `encode_image` takes: nothing is to be done to it.
    """

    image_size: tuple[int, int]
    image_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    image_std: tuple[float, ...] = (1.0, 1.0, 1.0)


class OpenClipFace(nn.Module):
    """A model with the methods of `open_clip.CLIP`.

    Args:
        model: with towers `"image"` and `"text"` and a part `"dot"`.

    Attributes:
        transform: an image to what `encode_image` takes.
        tokenizer: texts to what `encode_text` takes.
        visual: the size of images.

    Raises:
        ValueError: if a tower, its processor or the part is missing or of another kind.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        image, text, dot = model.processors.get("image"), model.processors.get("text"), dict(model.parts).get("dot")
        if not isinstance(image, ImageProcessor) or not isinstance(text, Tokenizing) or not isinstance(dot, Dot):
            raise ValueError(
                f"open_clip's face needs an ImageProcessor, a tokenizer and a part 'dot'; this model has "
                f"processors { {name: type(one).__name__ for name, one in model.processors.items()} } and parts "
                f"{sorted(model.parts)}"
            )
        self.model, self.dot = model, dot
        self.transform = Transform(image)
        self.tokenizer = TokenIds(text, text.max_length)
        self.visual = Visual((image.size, image.size))

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the scale, a scalar."""
        return self.dot.current_scale().log()

    @property
    def logit_bias(self) -> Tensor | None:
        """The bias of a model trained by sigmoid losses."""
        return self.dot.offset

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """`[N, C, H, W]` as `transform` makes them to `[N, D]`, of unit length whether asked to be or not.

        Raises:
            ValueError: if they are not as `transform` makes them.
        """
        pixels = (image.float() * 255).round()
        if pixels.numel() and (pixels.min() < 0 or pixels.max() > 255):
            raise ValueError(
                f"pixels are from {float(image.min()):.3g} to {float(image.max()):.3g}, not 0 to 1: make them with "
                "this model's own `transform`, without normalising them"
            )
        return self.model.encode("image", {"pixels": pixels.to(torch.uint8)}).dense

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """`[N, T]` as `tokenizer` makes them to `[N, D]`, of unit length whether asked to be or not."""
        processor = self.tokenizer.processor
        mask = text != PADDING
        used = processor.fixed_length or (int(mask.sum(1).max()) if len(text) else 1)
        ids = text.masked_fill(~mask, processor.pad_id)
        return self.model.encode("text", {"ids": ids[:, :used], "mask": mask[:, :used]}).dense

    def forward(self, image: Tensor | None = None, text: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """(image vectors, text vectors, scale), and the bias where there is one; None for what was not given."""
        vectors = (
            None if image is None else self.encode_image(image, normalize=True),
            None if text is None else self.encode_text(text, normalize=True),
        )
        end = (self.logit_scale.exp(),) if self.logit_bias is None else (self.logit_scale.exp(), self.logit_bias)
        return (*vectors, *end)


def as_open_clip(model: Model, *, device: str | torch.device = "cpu") -> OpenClipFace:
    """A model as open_clip's tools expect one, in eval mode.

    Args:
        model: is moved to the device, and shared: nothing is copied.
        device: where it shall compute.

    Raises:
        ValueError: if it has not both an image and a text tower, or no part `"dot"`.

    Example:
        `face = as_open_clip(load("runs/mine")); zeroshot_retrieval.evaluate(face, loader, face.tokenizer, "cpu")`
    """
    return OpenClipFace(model).to(device).eval()
