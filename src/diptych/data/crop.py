"""A random part of each picture, another in every epoch: the augmentation that decoding anew makes free.

The part covers a share of the picture drawn from `least` to 1, with sides drawn to be to each other as 1 to
`ratio` at most, and is then resized to the square. A table whose pixels are kept cuts its batches by `RandomAffine`.

Source: Szegedy et al. 2015 (arXiv 1409.4842), section 6; with `least` 0.9 as CLIP's retrainings have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]
_TRIES = 10


@dataclass(frozen=True)
class RandomCrop:
    """Draws parts of pictures.

    Attributes:
        least: share of the picture's area that is kept at least, above 0 and up to 1.
        ratio: the longer side of the part over the shorter, at most; 1 or more.

    Raises:
        ValueError: if one is out of its range.

    Example:
        >>> left, top, right, bottom = RandomCrop().box(640, 480, np.random.default_rng(0))
        >>> bool(0 <= left < right <= 640 and 0 <= top < bottom <= 480)
        True
    """

    least: float = 0.9
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1 or self.ratio < 1:
            raise ValueError(f"least is {self.least} and ratio is {self.ratio}; expected 0 < least <= 1 <= ratio")

    def box(self, width: int, height: int, random: np.random.Generator) -> Box:
        """Left, top, right and bottom of a part, in pixels; the most that `ratio` allows where nothing drawn fits."""
        for _ in range(_TRIES):
            share, shape, x, y = random.random(4)
            area = width * height * (self.least + (1 - self.least) * share)
            slant = math.exp((2 * shape - 1) * math.log(self.ratio))
            wide, high = math.sqrt(area * slant), math.sqrt(area / slant)
            if wide <= width and high <= height:
                left, top = x * (width - wide), y * (height - high)
                return left, top, left + wide, top + high
        wide, high = min(width, height * self.ratio), min(height, width * self.ratio)
        left, top = (width - wide) / 2, (height - high) / 2
        return left, top, left + wide, top + high
