"""One way from stored bytes to pixels: upright, opaque, 8 bits a channel, or a `BadImage` that says why not.

Photographs arrive rotated by EXIF, in CMYK, with 16 bits, with a palette, transparent, animated,
cut short or absurdly large. Each has one right reading, and it is decided here, so that training,
indexing and serving see the same pixels.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
"""Pixels an image may have by default: a 100-megapixel photograph passes, a decompression bomb does not."""

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_DECODING_ERRORS = (
    # Damaged bytes make one or another of Pillow's decoders raise each of these.
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_DEPTHS = (8, 10, 12, 14, 16, 24, 32)


class BadImage(ValueError):
    """An image that cannot be used.

    Attributes:
        reason: a short stable category: "no image", "missing file", "unreadable file", "empty file",
            "not an image", "truncated image", "broken image" or "too many pixels".
        detail: what was found, in words.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are read.

    Attributes:
        width: in pixels, as stored: before EXIF rotation.
        height: in pixels, as stored.
        mode: Pillow's name of the pixel format, such as "RGB", "CMYK" or "I;16".
        format: "JPEG", "PNG" ...; "" for an image that came from memory.
    """

    width: int
    height: int
    mode: str
    format: str


def read_header(value: bytes | dict[str, Any] | str | Path | Image.Image) -> Header:
    """Read size, mode and format without decoding any pixel.

    Parameters
    ----------
    value
        As for `decode_image`.

    Raises
    ------
    BadImage
        If there is no image to open. A truncated one has a good header still.
    """
    image, name = _open(value)
    header = Header(image.width, image.height, image.mode, image.format or "")
    if name is not None:
        image.close()
    return header


def upright_size(value: bytes | dict[str, Any] | str | Path | Image.Image) -> tuple[int, int]:
    """Width and height in pixels that `decode_image` gives without a draft, read without decoding any pixel.

    Raises
    ------
    BadImage
        If there is no image to open.
    """
    image, _ = _open(value)
    return (image.height, image.width) if _is_sideways(image) else image.size


def decode_image(
    value: bytes | dict[str, Any] | str | Path | Image.Image,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    max_pixels: int = MAX_PIXELS,
    draft: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode an image: turned upright, laid on white where it is transparent, 8 bits a channel.

    Of an animation the first frame is taken. Grey levels of more than 8 bits are scaled from the
    range of the least usual depth (8, 10, 12, 14, 16, 24 or 32 bits) that holds the brightest pixel: a
    12-bit X-ray in a 16-bit file is neither clipped to white nor nearly black. Floating-point grey
    is read as 0 to 1, or from its least to its greatest value if it leaves that range.

    Parameters
    ----------
    value
        The bytes of a file, a path, `{"bytes": ..., "path": ...}` as `datasets.Image(decode=False)`
        gives it (the bytes count if there are any), or a Pillow image, which is left as it was.
    mode
        "RGB" or "L" (grey).
    max_pixels
        Images of more pixels than this, by their header, are refused before any is decoded.
        Pillow's own ceiling, twice `PIL.Image.MAX_IMAGE_PIXELS`, holds besides.
    draft
        A (width, height) in pixels. A JPEG much larger is then decoded at a half, a quarter or an
        eighth of its size, which is several times faster; the result is never smaller than `draft`
        in either direction, unless the image is. Other formats come at full size.

    Returns
    -------
    PIL.Image.Image
        Loaded, of mode `mode`, without an open file behind it.

    Raises
    ------
    BadImage
        If there is nothing to decode, or not all of it can be: nothing half-grey is ever returned.

    Examples
    --------
    >>> decode_image(Image.new("RGBA", (2, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    image, name = _open(value)
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise BadImage("too many pixels", f"{_of(name)}{image.width} x {image.height} = {pixels:,} > {max_pixels:,}")
    try:
        if draft is not None and name is not None:
            width, height = draft
            image.draft(None, (height, width) if _is_sideways(image) else (width, height))
        image.load()
        return _flatten(_upright(image), mode)
    except _DECODING_ERRORS as error:
        raise BadImage(_category(error), f"{_of(name)}{error}") from error


def _open(value: bytes | dict[str, Any] | str | Path | Image.Image) -> tuple[Image.Image, str | None]:
    """The image, not yet decoded, and the name of what was opened ("" for bytes); None if it was open before."""
    if isinstance(value, Image.Image):
        return value, None
    if isinstance(value, dict):
        name = str(value.get("path") or "")
        source = value.get("bytes")
        if source is None and not name:
            raise BadImage("no image", "neither bytes nor a path")
    else:
        name = "" if isinstance(value, bytes) else str(value)
        source = value if isinstance(value, bytes) else None
    try:
        data = Path(name).read_bytes() if source is None else source
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadImage("missing file", name) from error
    except OSError as error:
        raise BadImage("unreadable file", f"{name}: {error.strerror}") from error
    if not data:
        raise BadImage("empty file", name)
    try:
        return Image.open(BytesIO(data)), name
    except UnidentifiedImageError as error:
        raise BadImage("not an image", f"{_of(name)}{len(data):,} bytes that begin {data[:12]!r}") from error
    except Image.DecompressionBombError as error:
        raise BadImage("too many pixels", f"{_of(name)}{error}") from error
    except _DECODING_ERRORS as error:
        raise BadImage(_category(error), f"{_of(name)}{error}") from error


def _of(name: str | None) -> str:
    return f"{name}: " if name else ""


def _category(error: Exception) -> str:
    return "truncated image" if isinstance(error, EOFError) or "truncated" in str(error).lower() else "broken image"


def _is_sideways(image: Image.Image) -> bool:
    """Whether EXIF will swap width and height."""
    try:
        return image.getexif().get(_ORIENTATION) in _SIDEWAYS
    except _DECODING_ERRORS:
        return False


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; as it is stored if the EXIF is garbage, for the pixels are good."""
    try:
        return ImageOps.exif_transpose(image)
    except _DECODING_ERRORS:
        return image.copy()


def _flatten(image: Image.Image, mode: Literal["RGB", "L"]) -> Image.Image:
    """The image in `mode`: deep grey scaled to 8 bits, transparency laid on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_8_bits(image).convert(mode)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        image = Image.alpha_composite(paper, picture).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Deep or floating-point grey scaled to 0 ... 255 by the range `decode_image` describes."""
    grey = np.asarray(image).astype(np.float64)  # [H, W]
    low, high = float(grey.min()), float(grey.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("the image has pixels that are not finite numbers")
    if image.mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    else:
        low = min(low, 0.0)
        high = low + next(2.0**depth - 1 for depth in _DEPTHS if high - low < 2**depth)
    scaled = (grey - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
