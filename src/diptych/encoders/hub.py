"""What the wrappers of `transformers` share: a module built from its configuration alone, its layers, its answer.

The configuration is plain values with `model_type`, as `config.json` has them for a whole model and, within those of
two towers, for each tower. Use it to rebuild a tower without the network and without the rest of its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from diptych.core.embedding import Tokens

_LEFT_OUT = ("transformers_version", "dtype", "torch_dtype", "_name_or_path")
"""Of a configuration: where and when it was written, which is not what it describes."""
_LAYERS = ("layers", "layer", "blocks", "block", "h")


@dataclass(frozen=True)
class Answer(Tokens):
    """A module's last hidden states, and what it pooled itself, `[N, D]`, if it did."""

    pooled: Tensor | None = None


def plain_config(config: Any) -> dict[str, Any]:
    """A configuration object as plain values, all of them, with `model_type`."""
    said = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in said.items() if name not in _LEFT_OUT}


def built_config(config: Mapping[str, Any]) -> Any:
    """The configuration object of plain values with `model_type`."""
    from transformers import AutoConfig  # takes seconds, and most models have no need of it

    return AutoConfig.for_model(**{name: value for name, value in config.items() if name not in _LEFT_OUT})


def module_class(config: Any) -> Any:
    """The class of a tower: what `AutoModel` says, or the class that is named like its configuration.

    Raises:
        ValueError: if `transformers` has none.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if type(config) in MODEL_MAPPING:
        known = MODEL_MAPPING[type(config)]
        return known[0] if isinstance(known, tuple) else known
    name = type(config).__name__.removesuffix("Config") + "Model"
    found = getattr(transformers, name, None)
    if found is None:
        raise ValueError(f"transformers {transformers.__version__} has no module for model_type {config.model_type!r}")
    return found


def built_module(config: Mapping[str, Any], *, pooler: bool = True) -> nn.Module:
    """A module with random weights, in float32.

    Args:
        config: with `model_type`.
        pooler: keep its own pooling layer, if it has one that it can be without.
    """
    built = built_config(config)
    module: Any = module_class(built)(built).float()
    if not pooler and isinstance(getattr(module, "pooler", None), nn.Module):
        module.pooler = None
    return module


def own_pooling(said: Any, module: nn.Module) -> Tensor:
    """The `pooler_output` of a module's answer.

    Raises:
        ValueError: if it has none.
    """
    pooled = getattr(said, "pooler_output", None)
    if pooled is None:
        raise ValueError(f"{type(module).__name__} has no pooler_output: pool by the mean or by a token")
    return pooled.flatten(1)


def layers_of(module: nn.Module) -> nn.ModuleList:
    """The list of its transformer layers, the outermost there is; the whole module as one where there is none."""
    lists = [
        (path.count("."), found)
        for path, found in module.named_modules()
        if isinstance(found, nn.ModuleList) and path.split(".")[-1] in _LAYERS
    ]
    return min(lists, key=lambda one: one[0])[1] if lists else nn.ModuleList([module])


def width_of(config: Any) -> int:
    """Channels of a module's hidden states, by the names that configurations give them.

    Raises:
        ValueError: if it has none of these.
    """
    for name in ("hidden_size", "d_model", "dim"):
        if isinstance(value := getattr(config, name, None), int):
            return value
    if sizes := getattr(config, "hidden_sizes", None):
        return int(sizes[-1])
    raise ValueError(f"the configuration of {config.model_type!r} does not say how wide its hidden states are")
