"""Text towers of `sentence-transformers`: its tokens, its pooling, its dense layer, as one tower and its head.

    vector = unit(W pool(transformer(tokens)) + b),    pool the mean or the first token; W and b where there are any

Use it as the text tower of a model to be aligned, or alone. Vectors are of unit length also where the folder asks
for no `Normalize`: directions are the same, and cosines too.

Source: Reimers and Gurevych 2019, Sentence-BERT, arXiv 1908.10084.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer, normalizers
from torch import nn

from diptych.data.processors import TextProcessor, TooLong
from diptych.encoders import HubText, Projection, UnitLength
from diptych.models.opening.files import find_file, find_json
from diptych.models.opening.stretch import stretched
from diptych.models.opening.tower import Tower


def sentence_text(name: str, *, max_length: int | None, too_long: TooLong) -> Tower:
    """A text tower of `sentence-transformers`.

    Args:
        name: a folder, or a place on the hub.
        max_length: tokens of a text; None for what the folder says. More than it has places stretches them.
        too_long: what becomes of longer texts: `"cut"`, or an `"error"`.

    Raises:
        ValueError: if there is no such model, a module of it is of a kind that cannot be opened, it puts a prompt
            before every text, or `max_length` is more than its places and those are not learned absolute ones.

    Example:
        `tower = sentence_text("sentence-transformers/all-MiniLM-L6-v2", max_length=None, too_long="cut")`
    """
    dense = _modules(name)
    prompt = (find_json(name, "config_sentence_transformers.json") or {}).get("default_prompt_name")
    if prompt is not None:
        raise ValueError(f"{name} puts its prompt {prompt!r} before every text, which is not supported")
    encoder, processor = HubText.open(name)
    own = find_json(name, "sentence_bert_config.json") or {}
    places = _places(encoder)
    if max_length is not None and max_length > places.count:
        encoder = _with_places(encoder, places, max_length, name)
        places = _places(encoder)
    definition = processor.definition or ""
    limit = own.get("max_seq_length") or (find_json(name, "tokenizer_config.json") or {}).get("model_max_length")
    processor = TextProcessor(
        processor.vocab_size,
        max_length=max_length or int(min(limit or places.count, places.count)),
        definition=_lowercased(definition) if own.get("do_lower_case") else definition,
        pad_id=processor.pad_id,
        too_long=too_long,
    )
    return Tower(encoder, processor, UnitLength(encoder.width) if dense is None else _dense(name, dense))


def _modules(name: str) -> str | None:
    """The folder of the dense layer, if there is one; an error if modules are there that have no counterpart."""
    listed = find_json(name, "modules.json")
    if listed is None:  # a plain model of transformers, which that library pools by the mean
        return None
    found = [(str(one["type"]).rsplit(".", 1)[-1], one["path"]) for one in listed]
    kinds = [kind for kind, _ in found]
    rest = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if found[:2] != [("Transformer", ""), ("Pooling", "1_Pooling")] or rest not in ([], ["Dense"]):
        raise ValueError(
            f"{name} is made of {found}; what can be opened is a Transformer in the folder itself, a Pooling in "
            "1_Pooling, and after it a Dense, a Normalize, both or none"
        )
    return found[2][1] if rest else None


def _dense(name: str, folder: str) -> Projection:
    """The dense layer as a head."""
    said: Mapping[str, Any] = find_json(name, f"{folder}/config.json") or {}
    activation = str(said.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if activation != "Identity" or said.get("use_residual"):
        raise ValueError(
            f"{name} has a dense layer with activation {activation}"
            f"{' and a residual' if said.get('use_residual') else ''}; only a linear one (Identity) can be a head"
        )
    file = find_file(name, f"{folder}/model.safetensors")
    if file is None:
        raise ValueError(f"{name} has no {folder}/model.safetensors (pickled weights are never opened)")
    head = Projection(said["in_features"], said["out_features"], layer_norm=False, bias=said.get("bias", True))
    try:
        head.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{file} does not fit its description: {error}") from error
    return head


def _lowercased(definition: str) -> str:
    """A tokenizer that folds case before anything else."""
    tokenizer = Tokenizer.from_str(definition)
    also = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *also])
    return tokenizer.to_str()


@dataclass(frozen=True)
class _Places:
    """Where a backbone keeps its places.

    Attributes:
        count: tokens that it has places for.
        name: of the learned table; None where places are not learned absolute ones.
        first: row of the table that the first token uses (RoBERTa's begin after the padding's).
    """

    count: int
    name: str | None = None
    first: int = 0


def _places(encoder: HubText) -> _Places:
    tables = {
        name: module
        for name, module in encoder.backbone.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    }
    if len(tables) != 1 or encoder.config.get("position_embedding_type", "absolute") != "absolute":
        said = encoder.config.get("max_position_embeddings") or 0
        return _Places(said if said > 0 else 1 << 30)
    [(name, table)] = tables.items()
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    return _Places(table.num_embeddings - first, name, first)


def _with_places(encoder: HubText, places: _Places, length: int, name: str) -> HubText:
    """The same encoder with places for longer texts."""
    if places.name is None:
        raise ValueError(
            f"{name} has places for {places.count:,} tokens, and they are not learned absolute ones that could be "
            f"stretched: max_length {length:,} is too much"
        )
    weights = encoder.backbone.state_dict()
    table = weights[f"{places.name}.weight"]
    weights[f"{places.name}.weight"] = torch.cat([table[: places.first], stretched(table[places.first :], length)])
    config = {**encoder.config, "max_position_embeddings": places.first + length}
    longer = HubText(config, pooling=encoder.pooling, pooler=encoder.pooler)  # type: ignore[arg-type]
    longer.backbone.load_state_dict(weights)
    return longer
