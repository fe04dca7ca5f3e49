"""A checkpoint's own image preprocessing as a processor of ours: the same pixels, or a refusal.

    pixels * rescale_factor - offset, (x - mean) / std   =   (pixels / 255 - our mean) / our std

Whatever `transformers` does before the module is read from the checkpoint's files, by the library itself, and then
done by our processor, which checkpoints of ours describe. What that cannot do exactly is an error that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.data.processors import ImageProcessor, Interpolation
from diptych.models.opening.hf_files import kept_file

_RESAMPLE: dict[int, Interpolation] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
_PLAIN = {"CLIP", "ChineseCLIP", "Siglip", "Siglip2", "Blip", "ViT", "DeiT", "Bit", "EfficientNet"}
_READ = {
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "rescale_offset",
    "do_normalize", "image_mean", "image_std", "include_top", "do_convert_rgb", "patch_size", "max_num_patches",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "data_format",
    "input_data_format", "default_to_square", "return_tensors", "device", "disable_grouping", "model_input_names",
}  # fmt: skip


@dataclass(frozen=True)
class Pixels:
    """How a checkpoint's images are made: resized by the processor, normalised by the encoder with mean and std."""

    processor: ImageProcessor
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixels_of(name: str) -> Pixels:
    """What a checkpoint's `preprocessor_config.json` says.

    Raises:
        ValueError: if there is none, or it asks for what cannot be done exactly; the message names the field.
    """
    from transformers import AutoImageProcessor

    if kept_file(name, "preprocessor_config.json", "processor_config.json") is None:
        raise ValueError(f"hf:{name} has no preprocessor_config.json, which says how its images are resized")
    try:
        said: dict[str, Any] = AutoImageProcessor.from_pretrained(name, trust_remote_code=False).to_dict()
    except (OSError, ValueError) as error:
        raise ValueError(f"the preprocessor_config.json of hf:{name} cannot be read: {error}") from error
    kind = str(said.get("image_processor_type")).removesuffix("Fast").removesuffix("ImageProcessor")
    if kind not in _PLAIN:
        raise _refused(
            name, "image_processor_type", said.get("image_processor_type"), f"one of {', '.join(sorted(_PLAIN))}"
        )
    for field, value in said.items():
        if field not in _READ | _WITHOUT_EFFECT and value not in (None, False, {}, []):
            raise _refused(name, field, value, "None")
    return Pixels(_resizing(name, said), *_affine(name, said))


def _resizing(name: str, said: Mapping[str, Any]) -> ImageProcessor:
    resample = int(said["resample"])
    if resample not in _RESAMPLE:
        raise _refused(name, "resample", resample, _RESAMPLE)
    if not said.get("do_resize"):
        raise _refused(name, "do_resize", said.get("do_resize"), True)
    kind = _RESAMPLE[resample]
    if "max_num_patches" in said:  # NaFlex keeps each image's shape; here all have that of a square one
        side = int(said["max_num_patches"] ** 0.5) * said["patch_size"]
        return ImageProcessor(side, resize="squash", interpolation=kind, draft=False)
    size, crop = dict(said["size"]), said["crop_size"] if said.get("do_center_crop") else None
    if set(size) == {"shortest_edge"}:
        edge, resize = int(size["shortest_edge"]), "shortest"
        if crop is None:
            raise _refused(name, "do_center_crop", False, "True where size is a shortest_edge")
    elif set(size) == {"height", "width"} and size["height"] == size["width"]:
        edge, resize = int(size["height"]), "squash"
    else:
        raise _refused(name, "size", size, "a shortest_edge, or a height and a width that are equal")
    side = edge
    if crop is not None:
        if crop["height"] != crop["width"] or crop["height"] > edge:
            raise _refused(name, "crop_size", crop, f"a square of at most {edge}")
        side = int(crop["height"])
    return ImageProcessor(side, resize=resize, interpolation=kind, edge=edge, centre="floor", draft=False)


def _affine(name: str, said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std on [0, 1] of all the steps that scale and shift: `x = a * pixel - b` of each channel."""
    a, b = [1.0] * 3, [0.0] * 3
    if said.get("do_rescale"):
        factor = float(said["rescale_factor"])
        a, b = [factor] * 3, [1.0 if said.get("rescale_offset") else 0.0] * 3
    mean, std = _channels(name, said, "image_mean"), _channels(name, said, "image_std")
    if said.get("do_normalize"):
        a = [x / s for x, s in zip(a, std, strict=True)]
        b = [(x + m) / s for x, m, s in zip(b, mean, std, strict=True)]
    if said.get("include_top"):
        a, b = ([x / s for x, s in zip(y, std, strict=True)] for y in (a, b))
    scale = tuple(1 / (255 * x) for x in a)
    return tuple(x * s for x, s in zip(b, scale, strict=True)), scale


def _channels(name: str, said: Mapping[str, Any], field: str) -> Sequence[float]:
    value = said.get(field)
    if value is None:
        if said.get("do_normalize") or said.get("include_top"):
            raise _refused(name, field, None, "three numbers")
        return (1.0,) * 3
    numbers = [float(x) for x in value] if isinstance(value, list | tuple) else [float(value)] * 3
    if len(numbers) != 3:
        raise _refused(name, field, value, "three numbers")
    return numbers


def _refused(name: str, field: str, found: Any, expected: Any) -> ValueError:
    return ValueError(
        f"the preprocessor_config.json of hf:{name} has {field} {found!r}; only {expected} can be done exactly"
    )
