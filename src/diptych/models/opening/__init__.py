"""Open models of other libraries, and our own, by one name: `load("open_clip:ViT-B-32/openai")`.

    DIR                             a run or a checkpoint of ours
    hf:NAME or hf:DIR               a model of `transformers` with an image and a text tower
    open_clip:ARCH[/TAG]            an architecture that open_clip lists, with the weights of a tag, or random ones
    open_clip:DIR or open_clip:hf-hub:NAME      a folder or a place on the hub with `open_clip_config.json`
    timm:NAME                       an image tower alone, with `timm`'s weights
    sentence-transformers:NAME      a text tower alone, from a folder or the hub
    IMAGE+TEXT                      the image tower of one and the text tower of another, to be aligned by training

Pixels, tokens and activations are those of the checkpoint. Nothing pickled is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from diptych.core.model import Model
from diptych.data.processors import TooLong
from diptych.data.store import hash_of
from diptych.encoders import Projection
from diptych.models import checkpoint
from diptych.models.opening.tower import Tower, assembled

SCHEMES = ("hf", "open_clip", "timm", "sentence-transformers")
_PAIR = re.compile(rf"(.+?)\+((?:{'|'.join(SCHEMES)}):.+)")
PAIR_WIDTH = 512
"""Of the embedding of two towers that were never trained together."""


def load(
    name: str | Path, *, max_length: int | None = None, too_long: TooLong | None = None, wrapped: bool = False
) -> Model:
    """A model by its name, in eval mode on the CPU, in float32.

    Args:
        name: see above.
        max_length: tokens of a text; None for what the model was made for. More stretches its learned places (see
            `stretch.py`), less cuts earlier.
        too_long: what becomes of texts of more tokens: `"cut"` and counted, or an `"error"`; None for `"cut"`.
        wrapped: keep the library's own modules also where ours give the same answers faster.

    Raises:
        ValueError: if there is no such model, or it is of a kind that cannot be opened; the message says what can.

    Example:
        `model = load("hf:openai/clip-vit-base-patch32")`
    """
    scheme, rest = scheme_of(name)
    if scheme is None:
        if max_length is not None or too_long is not None or wrapped:
            raise ValueError(f"{name} is a checkpoint of ours: max_length, too_long and wrapped are not for it")
        return checkpoint.load(_checkpoint_in(Path(name)))
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length is {max_length}; it must be at least 1")
    too_long = too_long or "cut"
    if pair := _PAIR.fullmatch(str(name)):
        if wrapped:
            raise ValueError("wrapped is for a model of one library; of a pair each tower is what its own name gives")
        return _pair(str(name), _image_tower(pair[1]), _text_tower(pair[2], max_length, too_long))
    if scheme == "timm":
        return assembled(_image_tower(str(name)), None)
    if scheme == "sentence-transformers":
        return assembled(None, _text_tower(str(name), max_length, too_long))
    if scheme == "hf":
        from diptych.models.opening.hf import open_hf  # the libraries take seconds to import

        return open_hf(rest, max_length=max_length, too_long=too_long, wrapped=wrapped)
    from diptych.models.opening.open_clip import open_open_clip

    return open_open_clip(rest, max_length=max_length, too_long=too_long, wrapped=wrapped)


def scheme_of(name: str | Path) -> tuple[str | None, str]:
    """The scheme of a name and what follows it; None for a folder of ours.

    Example:
        >>> scheme_of("open_clip:ViT-B-32/openai"), scheme_of("runs/mine")
        (('open_clip', 'ViT-B-32/openai'), (None, 'runs/mine'))
    """
    scheme, colon, rest = str(name).partition(":")
    return (scheme, rest) if colon and scheme in SCHEMES else (None, str(name))


def _checkpoint_in(folder: Path) -> Path:
    """A checkpoint's folder, or the one in a run's."""
    if not folder.exists():
        raise ValueError(
            f"there is no folder {folder}; other libraries' models are named "
            + ", ".join(f"{scheme}:..." for scheme in SCHEMES)
        )
    return folder / "model" if (folder / "model" / "model.json").exists() else folder


def _image_tower(name: str) -> Tower:
    scheme, rest = scheme_of(name)
    if scheme == "timm":
        from diptych.models.opening.timm import timm_image

        return timm_image(rest)
    if scheme == "hf":
        from diptych.models.opening.hf import hf_image

        return hf_image(rest)
    if scheme == "open_clip":
        from diptych.models.opening.open_clip import open_open_clip

        return _tower_of(open_open_clip(rest, max_length=None, too_long="cut", wrapped=False), "image")
    raise ValueError(f"{name!r} names no image tower: write timm:NAME, hf:NAME or open_clip:NAME before the '+'")


def _text_tower(name: str, max_length: int | None, too_long: TooLong) -> Tower:
    scheme, rest = scheme_of(name)
    opened: Callable[..., Tower]
    if scheme == "sentence-transformers":
        from diptych.models.opening.sentence_transformers import sentence_text as opened
    elif scheme == "hf":
        from diptych.models.opening.hf import hf_text as opened
    elif scheme == "open_clip":
        from diptych.models.opening.open_clip import open_open_clip

        return _tower_of(open_open_clip(rest, max_length=max_length, too_long=too_long, wrapped=False), "text")
    else:
        raise ValueError(
            f"{name!r} names no text tower: write sentence-transformers:NAME, hf:NAME or open_clip:NAME after the '+'"
        )
    return opened(rest, max_length=max_length, too_long=too_long)


def _tower_of(model: Model, name: str) -> Tower:
    return Tower(model.towers[name], model.processors[name], model.heads[name]["dense"])  # type: ignore[arg-type, index]


def _pair(name: str, image: Tower, text: Tower) -> Model:
    """Two towers with new projections into one space, drawn by the name: the same whenever the pair is opened."""
    with torch.random.fork_rng([]):
        torch.manual_seed(int(hash_of(name)[:8], 16))
        new = [replace(tower, head=Projection(tower.encoder.width, PAIR_WIDTH)) for tower in (image, text)]
    return assembled(new[0], new[1])
