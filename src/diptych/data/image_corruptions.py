"""Pictures made worse in a stated way and to a stated degree: noise, blur, compression, light, colour, a turn.

Degrees go from 1 to 5. For noise, Gaussian blur, contrast, brightness, saturation, JPEG and pixelation they are the
numbers of ImageNet-C; what those give in pixels (the widths of blurs) is for pictures of 224 pixels and is scaled here
by the shorter side, so that a picture looks as bad whatever its size. Motion blur, greyness and turns are ours, and so
is all of the code: figures are near to those of ImageNet-C, not the same.

Use it to measure what a model bears (`diptych.evaluation.protocols.robustness`), not to train against it and then
measure by it.

Source: Hendrycks & Dietterich 2019 (arXiv 1903.12261), for the kinds and most degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Corruption = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "gaussian_blur",
    "motion_blur",
    "brightness",
    "contrast",
    "saturation",
    "greyness",
    "jpeg",
    "pixelation",
    "rotation",
]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 224
"""The shorter side of the pictures that widths in pixels are meant for."""


def corrupt(image: Image.Image, kind: Corruption, severity: int, *, random: np.random.Generator) -> Image.Image:
    """The picture, made worse.

    Args:
        image: of mode "RGB".
        kind: see `CORRUPTIONS`.
        severity: 1 to 5.
        random: of noise, of the way of a motion and of a turn.

    Returns:
        Of mode "RGB" and of the same size.

    Raises:
        ValueError: if there is no such kind or degree, or the picture is of another mode.

    Example:
        >>> grey = Image.new("RGB", (32, 32), (100, 100, 100))
        >>> corrupt(grey, "brightness", 1, random=np.random.default_rng(0)).getpixel((0, 0))
        (126, 126, 126)
    """
    if kind not in _KINDS or severity not in SEVERITIES:
        raise ValueError(f"no corruption {kind!r} of degree {severity}; there are {', '.join(CORRUPTIONS)} of 1 to 5")
    if image.mode != "RGB":
        raise ValueError(f"a picture of mode {image.mode!r}; convert it to 'RGB'")
    return _KINDS[kind](image, severity - 1, random)


def _noisy(image: Image.Image, noise: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    values = noise(np.asarray(image, np.float32) / 255)
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def _gaussian_noise(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    width = (0.08, 0.12, 0.18, 0.26, 0.38)[degree]
    return _noisy(image, lambda x: x + random.normal(size=x.shape, scale=width))


def _shot_noise(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """The fewer photons make full white, the more grain."""
    photons = (60, 25, 12, 5, 3)[degree]
    return _noisy(image, lambda x: random.poisson(x * photons) / photons)


def _impulse_noise(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """A share of the values becomes black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[degree]

    def noise(x: np.ndarray) -> np.ndarray:
        drawn = random.random(x.shape)
        return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, x))

    return _noisy(image, noise)


def _scaled(image: Image.Image, pixels: float) -> float:
    return pixels * min(image.size) / SIDE


def _gaussian_blur(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(_scaled(image, (1, 2, 3, 4, 6)[degree])))


def _motion_blur(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """The mean of the picture at places along a line, in a way drawn at random; borders are repeated."""
    length = _scaled(image, (6, 10, 15, 20, 30)[degree])
    angle = random.uniform(0, np.pi)
    steps = max(2, round(length))
    pixels = np.asarray(image, np.float32)
    reach = int(np.ceil(length / 2)) + 1
    wide = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    mean = np.zeros_like(pixels)
    for place in np.linspace(-length / 2, length / 2, steps):
        down, right = reach + round(place * np.sin(angle)), reach + round(place * np.cos(angle))
        mean += wide[down : down + pixels.shape[0], right : right + pixels.shape[1]] / steps
    return Image.fromarray(mean.round().clip(0, 255).astype(np.uint8))


def _brightness(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    return _in_hsv(image, 2, lambda value: value + (0.1, 0.2, 0.3, 0.4, 0.5)[degree])


def _saturation(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """Paler twice, then gaudier thrice: the degrees of the source do not rise."""
    factor, more = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[degree]
    return _in_hsv(image, 1, lambda value: value * factor + more)


def _in_hsv(image: Image.Image, channel: int, change: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    values = np.asarray(image.convert("HSV"), np.float32).copy()
    values[..., channel] = (change(values[..., channel] / 255).clip(0, 1) * 255).round()
    return Image.fromarray(values.astype(np.uint8), "HSV").convert("RGB")


def _contrast(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """Values move towards the mean of their channel."""
    kept = (0.4, 0.3, 0.2, 0.1, 0.05)[degree]
    return _noisy(image, lambda x: (x - x.mean((0, 1))) * kept + x.mean((0, 1)))


def _greyness(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance((0.8, 0.6, 0.4, 0.2, 0.0)[degree])


def _jpeg(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=(25, 18, 15, 10, 7)[degree])
    with Image.open(file) as again:
        return again.convert("RGB")


def _pixelation(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[degree]
    few = max(1, round(image.width * share)), max(1, round(image.height * share))
    return image.resize(few, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _rotation(image: Image.Image, degree: int, random: np.random.Generator) -> Image.Image:
    """By some degrees to either side; the corners get the picture's mean colour."""
    angle = (5, 10, 15, 20, 30)[degree] * random.choice([-1, 1])
    mean = tuple(int(value) for value in np.asarray(image).mean((0, 1)).round())
    return image.rotate(float(angle), Image.Resampling.BILINEAR, fillcolor=mean)


_KINDS: Mapping[Corruption, Callable[[Image.Image, int, np.random.Generator], Image.Image]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "gaussian_blur": _gaussian_blur,
    "motion_blur": _motion_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "greyness": _greyness,
    "jpeg": _jpeg,
    "pixelation": _pixelation,
    "rotation": _rotation,
}
