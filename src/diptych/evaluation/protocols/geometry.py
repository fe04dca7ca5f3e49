"""How images and texts lie in one space: the gap between them, how evenly each fills the sphere, hubs, pairs.

What the numbers mean is told in `diptych.evaluation.geometry`. They describe; none says by itself that a model is
good. Use it to see why vectors of both kinds mix badly in one gallery, why some rows come first for everything, or what
an objective did to the space.
"""

from __future__ import annotations

import torch

from diptych.evaluation.bench import Bench
from diptych.evaluation.geometry import geometry
from diptych.evaluation.measured import Measured


def measure(bench: Bench, *, k: int = 10) -> Measured:
    """The measures of `geometry`: `gap`, `separability`, `alignment`, `image_uniformity` and so on.

    Args:
        bench: a table with texts, of two pictures or more.
        k: neighbours that hubness counts.

    Raises:
        ValueError: as `geometry` does, or if there are no texts.
    """
    keys = torch.from_numpy(bench.pairs.keys.image), torch.from_numpy(bench.pairs.keys.text)
    found = geometry(bench.image.dense, bench.text.dense, *keys, k=k).flat("")
    numbers = {name.removeprefix("_"): value for name, value in found.items()}
    even = [name for name in numbers if name == "separability" or name.endswith("_auroc")]
    return Measured(numbers, dict.fromkeys(even, 0.5))
