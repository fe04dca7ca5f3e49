"""Any text model of `transformers`, from a folder or the hub, pooled as sentence encoders are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.data.processors import TextProcessor
from diptych.encoders.packing import masked_mean


class HubText(Encoder):
    """A `transformers` encoder; its last hidden states are the tokens.

    Args:
        config: the model's configuration as plain values, with `model_type`.
        pooling: `"mean"` over real tokens, or `"first"` token.

    Example:
        `encoder, processor = HubText.open("sentence-transformers/all-MiniLM-L6-v2")`
    """

    def __init__(self, config: Mapping[str, Any], *, pooling: Literal["mean", "first"] = "mean") -> None:
        from transformers import AutoConfig, AutoModel  # takes seconds, and most models have no need of it

        super().__init__()
        self.config, self.pooling = dict(config), pooling
        left_out = ("transformers_version", "dtype", "torch_dtype")
        built = AutoConfig.for_model(**{name: value for name, value in self.config.items() if name not in left_out})
        self.backbone: nn.Module = AutoModel.from_config(built).float()
        self.width = int(built.hidden_size)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The whole backbone, as one block; not registered twice."""
        return nn.ModuleList([self.backbone])

    @classmethod
    def open(cls, name: str | Path, *, max_length: int | None = None) -> tuple[Self, TextProcessor]:
        """The encoder and its tokenizer, from a folder or a hub name.

        A sentence-transformers folder says how it pools and how long its texts may be.

        Raises:
            ValueError: if there is no such folder or hub model, or it has no fast tokenizer.
        """
        from transformers import AutoModel, AutoTokenizer

        try:
            model = AutoModel.from_pretrained(name, use_safetensors=True)
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot open the text model {str(name)!r}: {error}") from error
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ValueError(f"the text model {str(name)!r} has no fast tokenizer (tokenizer.json)")
        places = getattr(model.config, "max_position_embeddings", None)
        if max_length and places and max_length > places:
            raise ValueError(f"the text model {str(name)!r} has {places} places; --max-length is {max_length}")
        encoder = cls(json.loads(model.config.to_json_string(use_diff=False)), pooling=_pooling(name))
        encoder.backbone.load_state_dict(model.state_dict())
        processor = TextProcessor(
            len(tokenizer),
            max_length=max_length or min(_max_length(name), tokenizer.model_max_length),
            definition=backend.to_str(),
            pad_id=tokenizer.pad_token_id or 0,
        )
        return encoder, processor

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool; the backbone embeds the ids itself."""
        return Tokens(inputs["ids"], inputs["mask"])

    def contextualise(self, tokens: Tokens) -> Tokens:
        assert tokens.mask is not None
        hidden = self.backbone(input_ids=tokens.x, attention_mask=tokens.mask.long()).last_hidden_state
        return Tokens(hidden, tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        x, mask = tokens.x, tokens.mask
        assert mask is not None
        if self.pooling == "first":
            return Features(x[:, 0], x, mask)
        return Features(masked_mean(x, mask), x, mask)


def _pooling(name: str | Path) -> Literal["mean", "first"]:
    """How a sentence-transformers model pools; the mean where it does not say."""
    said = _kept(name, "1_Pooling/config.json")
    modes = [mode for mode, wanted in said.items() if mode.startswith("pooling_mode_") and wanted is True]
    if "pooling_mode" in said:  # newer versions of sentence-transformers write one name, or several
        mode = said["pooling_mode"]
        modes = [mode] if isinstance(mode, str) else list(mode)
    known = {"pooling_mode_mean_tokens": "mean", "mean": "mean", "pooling_mode_cls_token": "first", "cls": "first"}
    if len(modes) > 1 or any(mode not in known for mode in modes):
        raise ValueError(f"the text model {str(name)!r} pools by {modes}; known are the mean and the first token")
    return "first" if modes and known[modes[0]] == "first" else "mean"


def _max_length(name: str | Path) -> int:
    return int(_kept(name, "sentence_bert_config.json").get("max_seq_length") or 512)


def _kept(name: str | Path, file: str) -> dict[str, Any]:
    """A JSON file of a model's folder, or of its place on the hub; empty where there is none."""
    from transformers.utils.hub import cached_file

    found = cached_file(
        str(name), file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(found).read_text()) if found else {}
