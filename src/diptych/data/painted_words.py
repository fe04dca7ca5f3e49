"""A word painted on a picture, as on a sign: black on a white band, as wide as fits.

Use it to ask whether a model reads a picture or looks at it (`diptych.evaluation.protocols.modality_conflict`).

Source: the attack of a note stuck on a thing, Goh et al. 2021 (Distill, "Multimodal neurons"); place and size are ours.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont


def paint_word(picture: Image.Image, word: str, *, height: float = 0.2) -> Image.Image:
    """The picture with a word on a white band across its foot.

    Args:
        picture: of mode "RGB".
        word: without line breaks; letters that Pillow's built-in font lacks come out as boxes.
        height: of the band, a share of the picture's, above 0 and up to 1.

    Returns:
        A new picture of the same size.

    Raises:
        ValueError: if the word is empty, or the height is out of its range.

    Example:
        >>> paint_word(Image.new("RGB", (64, 64)), "dog").getpixel((0, 63))
        (255, 255, 255)
    """
    if not word.strip() or not 0 < height <= 1:
        raise ValueError(f"word is {word!r} and height {height}; expected a word, and 0 < height <= 1")
    painted = picture.copy()
    band = max(1, round(picture.height * height))
    draw = ImageDraw.Draw(painted)
    draw.rectangle((0, picture.height - band, picture.width, picture.height), fill=(255, 255, 255))
    size = float(band) * 0.8
    font = ImageFont.load_default(size)
    wide = draw.textlength(word, font=font)
    if wide > 0.96 * picture.width:
        font = ImageFont.load_default(max(size * 0.96 * picture.width / wide, 1.0))
    middle = (picture.width / 2, picture.height - band / 2)
    draw.text(middle, word, fill=(0, 0, 0), font=font, anchor="mm")
    return painted
