"""Processors turn raw values into an encoder's inputs; deterministic, and described in the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from diptych.data.crop import RandomCrop
from diptych.data.images import decode_image, upright_size

Interpolation = Literal["bilinear", "bicubic", "lanczos", "nearest"]
TooLong = Literal["cut", "error"]
Resize = Literal["squash", "crop", "pad", "shortest"]
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


class ImageProcessor:
    """Decode and resize to a square of bytes; the encoder itself normalises them.

    Args:
        size: side of the square, in pixels.
        mode: `"RGB"`, or `"L"` for one grey channel.
        resize: `"squash"` ignores the aspect ratio, `"crop"` keeps the centre, `"pad"` keeps all; `"shortest"` is what
            torchvision and `transformers` do: the shorter side becomes `edge` whole pixels, then the centre is cut out.
            `"squash"` with an `edge` cuts the centre out of a square of that side.
        interpolation: of the resize; images that have the size already are not touched.
        edge: see `"shortest"` and `"squash"`; None for `size`.
        centre: where the centre lies if it is between two pixels: `"even"` as torchvision rounds, `"floor"` as
            `transformers` does.
        fill: grey level of what `"pad"` adds, 0 to 255.
        draft: decode large JPEGs at a fraction of their size, several times faster; pixels then differ by a few grey
            levels from those of a full decode, so what must equal another library's has it off.
        column: the table's column to read.
    """

    def __init__(
        self,
        size: int = 224,
        *,
        mode: Literal["RGB", "L"] = "RGB",
        resize: Resize = "crop",
        interpolation: Interpolation = "bicubic",
        edge: int | None = None,
        centre: Literal["even", "floor"] = "even",
        fill: int = 255,
        draft: bool = True,
        column: str = "image",
    ) -> None:
        if edge is not None and resize not in ("shortest", "squash"):
            raise ValueError(f"edge is for resize 'shortest' or 'squash'; resize is {resize!r}")
        if edge is not None and edge < size:
            raise ValueError(f"edge is {edge}, less than size, {size}: there would be nothing to cut out")
        self.mode: Literal["RGB", "L"] = mode
        self.size, self.resize, self.interpolation, self.column = size, resize, interpolation, column
        self.edge, self.centre, self.fill, self.draft = edge, centre, fill, draft

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return (3 if self.mode == "RGB" else 1, self.size, self.size)

    def fit(self, values: Sequence[Any]) -> Self:
        """Nothing to learn."""
        return self

    def one(
        self, value: Any, *, crop: RandomCrop | None = None, random: np.random.Generator | None = None
    ) -> np.ndarray:
        """One image to `[C, H, W]` uint8.

        Args:
            value: as for `decode_image`.
            crop: take a random part of the image, squashed to the square, instead of what `resize` says.
            random: of that part; needed where there is a `crop`.

        Raises:
            diptych.data.images.BadImage: if it cannot be decoded.
        """
        if crop is None or random is None:
            least = max(self.size, self.edge or 0)
            draft = (least, least) if self.draft else None
            image = self._fit_to_square(decode_image(value, mode=self.mode, draft=draft))
        else:
            width, height = upright_size(value)
            box = crop.box(width, height, random)
            wanted = (self.size * width / (box[2] - box[0]), self.size * height / (box[3] - box[1]))
            image = decode_image(value, mode=self.mode, draft=(math.ceil(wanted[0]), math.ceil(wanted[1])))
            x, y = image.width / width, image.height / height  # less than 1 where it was decoded at a fraction
            box = (box[0] * x, box[1] * y, min(box[2] * x, image.width), min(box[3] * y, image.height))
            image = image.resize((self.size, self.size), _FILTERS[self.interpolation], box=box)
        pixels = np.asarray(image)
        return pixels[None] if self.mode == "L" else pixels.transpose(2, 0, 1)

    def __call__(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Images to `{"pixels": [N, C, H, W] uint8}`."""
        pixels = np.empty((len(values), *self.shape), np.uint8)
        for i, value in enumerate(values):
            pixels[i] = self.one(value)
        return {"pixels": torch.from_numpy(pixels)}

    def _fit_to_square(self, image: Image.Image) -> Image.Image:
        side, (width, height) = self.size, image.size
        kind = _FILTERS[self.interpolation]
        if self.resize == "shortest" or (self.resize == "squash" and self.edge):
            return self._cut_out(image, self.edge or side, kind)
        if (width, height) == (side, side):
            return image
        if self.resize == "squash":
            return image.resize((side, side), kind)
        if self.resize == "crop":
            cut = min(width, height)
            left, top = (width - cut) / 2, (height - cut) / 2
            return image.resize((side, side), kind, box=(left, top, left + cut, top + cut))
        ratio = side / max(width, height)
        fitted = image.resize((max(1, round(width * ratio)), max(1, round(height * ratio))), kind)
        left, top = (side - fitted.width) // 2, (side - fitted.height) // 2
        square = Image.new(self.mode, (side, side), self.fill if self.mode == "L" else (self.fill,) * 3)
        square.paste(fitted, (left, top))
        return square

    def _cut_out(self, image: Image.Image, edge: int, kind: Image.Resampling) -> Image.Image:
        """The shorter side, or each, to `edge`, then the square in the middle."""
        least = min(image.size)
        squash = self.resize == "squash"
        width, height = (edge if squash or x == least else int(edge * x / least) for x in image.size)
        whole = round if self.centre == "even" else math.floor
        left, top = whole((width - self.size) / 2), whole((height - self.size) / 2)
        if (width, height) != image.size:
            image = image.resize((width, height), kind)
        return image.crop((left, top, left + self.size, top + self.size))


@runtime_checkable
class Tokenizing(Protocol):
    """A processor of texts that can be asked which of them it cut.

    Attributes:
        max_length: most tokens of a text.
        pad_id: fills up the shorter rows of a batch.
        fixed_length: tokens that every row is filled up to; None for the longest of the batch.
    """

    max_length: int
    pad_id: int

    @property
    def fixed_length(self) -> int | None: ...
    def encode(self, values: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Token ids of each text without padding (int32), and `[N]` bool: which texts were cut."""
        ...

    def __call__(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Texts to `{"ids": [N, T] int64, "mask": [N, T] bool}`."""
        ...


class TextProcessor:
    """Texts to token ids, by a byte-level BPE learned from the training texts or taken ready.

    Any text has tokens (bytes are the alphabet): no unknowns, in any script. Each text ends with one
    `[END]` token, so an empty query has a token too.

    Args:
        vocab_size: the most tokens the vocabulary may have, at least 258; embeddings are sized by it.
        max_length: tokens kept of a text, the last one included; longer texts are cut and counted.
        lowercase: fold case (NFKC is always applied).
        definition: a ready tokenizer as the JSON of `tokenizers`; None until `fit`.
        pad_id: what fills up shorter rows; those places have mask False.
        fill: fill every row up to `max_length`, for towers that read their padding too (SigLIP's).
        too_long: what becomes of longer texts: `"cut"`, and counted, or an `"error"`.
        stop_id: a text ends with the first of this token, should somebody write it out, for towers that pool there.
        column: the table's column to read.
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        *,
        max_length: int = 64,
        lowercase: bool = True,
        definition: str | None = None,
        pad_id: int = 0,
        fill: bool = False,
        too_long: TooLong = "cut",
        stop_id: int | None = None,
        column: str = "text",
    ) -> None:
        if definition is None and vocab_size < 258:
            raise ValueError(f"--vocab-size is {vocab_size}; 256 bytes and two marks need at least 258")
        self.vocab_size, self.max_length, self.lowercase = vocab_size, max_length, lowercase
        self.too_long: TooLong = too_long
        self.pad_id, self.fill, self.stop_id, self.column = pad_id, fill, stop_id, column
        self.definition = definition
        self._tokenizer = Tokenizer.from_str(definition) if definition else None
        if self._tokenizer:
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()

    @property
    def fixed_length(self) -> int | None:
        """Tokens of every row, with its padding; None where rows are as long as the longest of the batch."""
        return self.max_length if self.fill else None

    def fit(self, values: Sequence[str]) -> Self:
        """Learn the vocabulary from texts; a ready tokenizer stays as it is."""
        if self._tokenizer is not None:
            return self
        tokenizer = Tokenizer(models.BPE())
        steps = [normalizers.NFKC(), *([normalizers.Lowercase()] if self.lowercase else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            special_tokens=["[PAD]", "[END]"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(values, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
        self._tokenizer, self.definition = tokenizer, tokenizer.to_str()
        return self

    def encode(self, values: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Token ids of each text (int32, at most `max_length`), and `[N]` bool: which texts were cut.

        Raises:
            RuntimeError: before `fit`.
            ValueError: if a text is too long and `too_long` is "error".
        """
        if self._tokenizer is None:
            raise RuntimeError("this TextProcessor has no vocabulary yet: call fit(texts), or load a checkpoint")
        rows = [np.array(one.ids, dtype=np.int32) for one in self._tokenizer.encode_batch_fast(list(values))]
        if self.stop_id is not None:
            rows = [row[: 1 + int((row == self.stop_id).argmax())] if self.stop_id in row else row for row in rows]
        cut = np.array([len(row) > self.max_length for row in rows], dtype=bool)
        refuse_long(values, cut, self.max_length, self.too_long)
        has_end = bool(cut.any()) and self._has_end()
        for i in np.flatnonzero(cut):
            kept = rows[i][: self.max_length]
            rows[i] = np.append(kept[:-1], rows[i][-1]) if has_end else kept
        return rows, cut

    def _has_end(self) -> bool:
        """Whether every text ends with the same token, which cut ones then keep."""
        assert self._tokenizer is not None
        one, two = (self._tokenizer.encode(text).ids for text in ("a", "1"))
        return one[-1:] == two[-1:]

    def __call__(self, values: Sequence[str]) -> dict[str, Tensor]:
        """Texts to `{"ids": [N, T] int64, "mask": [N, T] bool}`, padded to the longest of them or to `fixed_length`."""
        return pad_ragged(self.encode(values)[0], self.pad_id, self.fixed_length)


def refuse_long(values: Sequence[str], cut: np.ndarray, max_length: int, too_long: TooLong) -> None:
    """Raise if texts are too long and that is an error.

    Args:
        values: the texts.
        cut: `[N]` bool, which are too long.

    Raises:
        ValueError: naming the first of them.
    """
    if too_long == "error" and cut.any():
        first = int(cut.argmax())
        raise ValueError(
            f"{int(cut.sum()):,} of {len(values):,} texts have more than {max_length} tokens, the first "
            f"{values[first][:60]!r}: shorten them, cut them (and have them counted) with too_long='cut', or stretch "
            "the model with a larger max_length"
        )


def pad_ragged(rows: Sequence[np.ndarray], pad_id: int, length: int | None = None) -> dict[str, Tensor]:
    """Ragged token ids to `{"ids": [N, T] int64, "mask": [N, T] bool}`; T is `length`, or that of the longest."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    mask = np.arange(length or lengths.max(initial=1))[None] < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    if len(rows):
        ids[mask] = np.concatenate(rows)
    return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}
