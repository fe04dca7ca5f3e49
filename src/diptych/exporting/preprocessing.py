"""How our processor makes pixels, in the words of open_clip and of `transformers`, and what differs there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diptych.data.processors import ImageProcessor
from diptych.exporting.native import refuse

_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # PIL's numbers


def open_clip_pixels(
    pixels: ImageProcessor, mean: Sequence[float], std: Sequence[float]
) -> tuple[dict[str, Any], list[str]]:
    """open_clip's `preprocess_cfg`, and sentences on what differs.

    Raises:
        diptych.exporting.native.CannotExport: if open_clip cannot make such pixels.
    """
    if pixels.edge not in (None, pixels.size):
        refuse(f"images are resized to {pixels.edge} and cut to {pixels.size}", "open_clip")
    if pixels.interpolation not in ("bicubic", "bilinear"):
        refuse(f"images are resized by {pixels.interpolation!r}", "open_clip")
    config = {
        "size": pixels.size,
        "mode": "RGB",
        "mean": three(mean),
        "std": three(std),
        "interpolation": pixels.interpolation,
        "resize_mode": {"squash": "squash", "pad": "longest"}.get(pixels.resize, "shortest"),
        "fill_color": pixels.fill if pixels.resize == "pad" else 0,
    }
    return config, _notes(pixels, "even")


def hf_pixels(pixels: ImageProcessor, mean: Sequence[float], std: Sequence[float]) -> tuple[dict[str, Any], list[str]]:
    """The arguments of CLIPImageProcessor, and sentences on what differs.

    Raises:
        diptych.exporting.native.CannotExport: if it cannot make such pixels.
    """
    if pixels.resize == "pad":
        refuse("images are padded to a square (resize='pad')", "transformers")
    edge = pixels.edge or pixels.size
    squash = pixels.resize == "squash"
    config = {
        "size": {"height": edge, "width": edge} if squash else {"shortest_edge": edge},
        "crop_size": {"height": pixels.size, "width": pixels.size},
        "do_center_crop": not squash or edge != pixels.size,
        "resample": _RESAMPLE[pixels.interpolation],
        "image_mean": three(mean),
        "image_std": three(std),
    }
    return config, _notes(pixels, "floor")


def _notes(pixels: ImageProcessor, centre: str) -> list[str]:
    """A sentence where the other library's resizing gives other pixels than ours.

    Args:
        pixels: our processor.
        centre: which pixel the other library takes for the centre, in our processor's words.
    """
    if pixels.resize == "crop":
        return [
            "images are resized before their centre is cut out, where Diptych cut first: embeddings of pictures that "
            "do not have the model's size yet differ by the rounding of pixels"
        ]
    if pixels.resize == "shortest" and pixels.centre != centre:
        return ["where the centre of a picture lies between two pixels, the other one is taken"]
    return []


def three(values: Sequence[float]) -> list[float]:
    """One number for each of three channels."""
    return [float(x) for x in (values if len(values) == 3 else [values[0]] * 3)]
