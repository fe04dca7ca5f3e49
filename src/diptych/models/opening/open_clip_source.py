"""Where a model of open_clip comes from: its configuration and its files, by its name.

Nothing pickled is ever opened: weights must be safetensors, in a folder or on the hub. What cannot be had is refused
with what can be done.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from diptych.data.open_clip_text import open_clip_library

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""Names that open_clip gives weights, the preferred first."""
HUB = "hf-hub:"
_CONFIG = {
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "multimodal_cfg",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
    "output_dict",
    "pad_id",
}
_UNPICKLED = (
    "pickles are never opened; convert them once with open_clip.create_model(...) and safetensors.torch.save_file("
    f"model.state_dict(), {WEIGHTS[0]!r}), and open the folder with {CONFIG} beside it"
)


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: as it was asked for, for messages.
        config: open_clip's configuration of the model.
        pixels: open_clip's configuration of the preprocessing.
        weights: the file; None for random weights.
        tokenizer: folder with a tokenizer of `transformers`, where open_clip prefers it to the one that is named.
    """

    name: str
    config: Mapping[str, Any]
    pixels: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    tokenizer: Path | None = None


def find(name: str) -> Source:
    """The configuration, and the files, of a model by its name.

    Raises:
        ValueError: if there is none; the message names what is near.
    """
    if name.startswith(HUB):
        folder = _from_hub(name.removeprefix(HUB), (CONFIG, *WEIGHTS[:2]))
        return replace(_in_folder(folder, name), tokenizer=None)
    if Path(name).is_dir():
        return _in_folder(Path(name), name)
    arch, _, tag = name.partition("/")
    library = open_clip_library()
    config = library.get_model_config(arch)
    if config is None:
        near = get_close_matches(arch, library.list_models(), 5, 0.4)
        raise ValueError(
            f"there is no folder {name!r}, and open_clip has no architecture {arch!r}; near it: "
            f"{', '.join(near) or 'see open_clip.list_models()'}"
        )
    return Source(name, deepcopy(config)) if not tag else _tagged(name, config, arch, tag)


def understand(source: Source) -> None:
    """Raise if the configuration is of a kind that cannot be opened."""
    if unknown := sorted(set(source.config) - _CONFIG):
        raise ValueError(
            f"{source.name}: its configuration has {unknown}; only models of an image and a text tower can be opened "
            f"(known are {sorted(_CONFIG)})"
        )
    if missing := sorted({"embed_dim", "vision_cfg", "text_cfg"} - set(source.config)):
        raise ValueError(f"{source.name}: its configuration lacks {missing}")


def _in_folder(folder: Path, name: str) -> Source:
    """The model of a folder as open_clip puts one on the hub."""
    try:
        content = json.loads((folder / CONFIG).read_text())
        config = content["model_cfg"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name} is no model of open_clip: its {CONFIG} cannot be read: {error!r}") from error
    weights = next((folder / file for file in WEIGHTS if (folder / file).exists()), None)
    if weights is None:
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".npz"))
        raise ValueError(f"{name} has no {WEIGHTS[0]}{f', only {pickled}' if pickled else ''}: {_UNPICKLED}")
    tokenizer = folder if (folder / "tokenizer_config.json").exists() else None
    return Source(name, config, content.get("preprocess_cfg") or {}, weights, tokenizer)


def _tagged(name: str, config: Mapping[str, Any], arch: str, tag: str) -> Source:
    """An architecture with the weights of a tag, and the pixels and activations they were trained with."""
    pretrained = open_clip_library().get_pretrained_cfg(arch, tag)
    if not pretrained:
        tags = open_clip_library().list_pretrained_tags_by_model(arch)
        near = get_close_matches(tag, tags, 5, 0.3) or tags
        raise ValueError(f"open_clip has no weights {tag!r} of {arch}; it has: {', '.join(near) or 'none'}")
    repository, _, file = str(pretrained.get("hf_hub") or "").rpartition("/")
    if not repository:
        raise ValueError(f"the weights {tag!r} of {arch} are pickled, at {pretrained.get('url')}: {_UNPICKLED}")
    wanted = (*([f"{Path(file).stem}.safetensors"] if file else []), WEIGHTS[0])
    folder = _from_hub(repository, wanted)
    weights = next((folder / one for one in wanted if (folder / one).exists()), None)
    if weights is None:
        raise ValueError(f"the weights {tag!r} of {arch} are only pickled on the hub ({repository}): {_UNPICKLED}")
    changed = {**deepcopy(config), "quick_gelu": pretrained.get("quick_gelu", config.get("quick_gelu", False))}
    return Source(name, changed, pretrained, weights)


def _from_hub(repository: str, files: Sequence[str]) -> Path:
    """A folder with those of these files that a place on the hub has; from the cache where it was fetched before."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot fetch {repository} from the hub: {error}") from error
