"""Any text model of `transformers`, from a folder or the hub, pooled as sentence encoders are, or in its own way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.data.processors import TextProcessor
from diptych.encoders.hub import Answer, built_module, layers_of, own_pooling, plain_config, width_of
from diptych.encoders.packing import masked_mean

TextPooling = Literal["own", "mean", "first", "last"]


class HubText(Encoder):
    """A `transformers` encoder; its last hidden states are the tokens.

    Args:
        config: the model's configuration as plain values, with `model_type`.
        pooling: `"own"`, the module's `pooler_output`; `"mean"` over real tokens; `"first"` or `"last"` real token.
        width: D of the pooled features; None for that of the hidden states.
        pooler: keep the module's own pooling layer, if it has one that it can be without.
        masked: tell the module which tokens are padding; SigLIP's tower reads them all.
        padding: the side on which the module gets its padding; processors pad on the right.

    Example:
        `encoder, processor = HubText.open("sentence-transformers/all-MiniLM-L6-v2")`
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        pooling: TextPooling = "mean",
        width: int | None = None,
        pooler: bool = True,
        masked: bool = True,
        padding: Literal["right", "left"] = "right",
    ) -> None:
        super().__init__()
        self.config, self.pooling = dict(config), pooling
        self.pooler, self.masked, self.padding = pooler, masked, padding
        self.backbone = built_module(self.config, pooler=pooler)
        self.width = width or width_of(self.backbone.config)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The backbone's layers; the whole of it as one block where it has no list of them. Not registered twice."""
        return layers_of(self.backbone)

    @classmethod
    def open(cls, name: str | Path, *, max_length: int | None = None) -> tuple[Self, TextProcessor]:
        """The encoder and its tokenizer, from a folder or a hub name.

        A sentence-transformers folder says how it pools and how long its texts may be.

        Raises:
            ValueError: if there is no such folder or hub model, or it has no fast tokenizer.
        """
        from transformers import AutoModel, AutoTokenizer

        try:
            model, said = AutoModel.from_pretrained(
                name, use_safetensors=True, output_loading_info=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot open the text model {str(name)!r}: {error}") from error
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ValueError(f"the text model {str(name)!r} has no fast tokenizer (tokenizer.json)")
        places = getattr(model.config, "max_position_embeddings", None)
        if max_length and places and max_length > places:
            raise ValueError(f"the text model {str(name)!r} has {places} places; --max-length is {max_length}")
        encoder = cls(plain_config(model.config), pooling=pooling_said(name), pooler=False)
        wanted = set(encoder.backbone.state_dict())
        missing = sorted(wanted & set(said["missing_keys"]))
        if missing:
            raise ValueError(
                f"the text model {str(name)!r} lacks the weights {missing[:5]} ({len(missing)} in all), which would be "
                "drawn at random: take a whole checkpoint"
            )
        encoder.backbone.load_state_dict({key: x for key, x in model.state_dict().items() if key in wanted})
        processor = TextProcessor(
            len(tokenizer),
            max_length=max_length or min(tokens_said(name), tokenizer.model_max_length),
            definition=backend.to_str(),
            pad_id=tokenizer.pad_token_id or 0,
        )
        return encoder, processor

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool, padded on the module's side; it embeds the ids itself."""
        ids, mask = inputs["ids"], inputs["mask"]
        if self.padding == "left":
            shift = mask.shape[1] - mask.sum(1, keepdim=True)
            order = (torch.arange(mask.shape[1], device=mask.device)[None] - shift) % mask.shape[1]
            ids, mask = ids.gather(1, order), mask.gather(1, order)
        return Tokens(ids, mask)

    def contextualise(self, tokens: Tokens) -> Answer:
        assert tokens.mask is not None
        asked = {"attention_mask": tokens.mask.long()} if self.masked else {}
        said = self.backbone(input_ids=tokens.x, **asked)
        pooled = own_pooling(said, self.backbone) if self.pooling == "own" else None
        return Answer(said.last_hidden_state, tokens.mask, pooled=pooled)

    def pool(self, tokens: Tokens) -> Features:
        x, mask = tokens.x, tokens.mask
        assert mask is not None
        if self.pooling == "own":
            assert isinstance(tokens, Answer) and tokens.pooled is not None
            return Features(tokens.pooled, x, mask)
        if self.pooling == "mean":
            return Features(masked_mean(x, mask), x, mask)
        real = mask.long().argmax(1) if self.pooling == "first" else mask.shape[1] - 1 - mask.flip(1).long().argmax(1)
        return Features(x[torch.arange(x.shape[0], device=x.device), real], x, mask)


def pooling_said(name: str | Path) -> TextPooling:
    """How a sentence-transformers model pools; the mean where it does not say.

    Raises:
        ValueError: if it pools otherwise than by the mean, the first or the last token.
    """
    said = _kept(name, "1_Pooling/config.json")
    modes = [mode for mode, wanted in said.items() if mode.startswith("pooling_mode_") and wanted is True]
    if "pooling_mode" in said:  # newer versions of sentence-transformers write one name, or several
        modes = [said["pooling_mode"]] if isinstance(said["pooling_mode"], str) else list(said["pooling_mode"])
    known: dict[str, TextPooling] = {"mean_tokens": "mean", "mean": "mean", "cls_token": "first", "cls": "first"}
    known |= {"lasttoken": "last"}
    names = [mode.removeprefix("pooling_mode_") for mode in modes]
    if names and (len(names) > 1 or names[0] not in known):
        raise ValueError(
            f"the text model {str(name)!r} pools by {modes}; known are the mean, the first and the last token"
        )
    return known[names[0]] if names else "mean"


def tokens_said(name: str | Path) -> int:
    """Tokens that a sentence-transformers model reads of a text; 512 where it does not say."""
    return int(_kept(name, "sentence_bert_config.json").get("max_seq_length") or 512)


def _kept(name: str | Path, file: str) -> dict[str, Any]:
    """A JSON file of a model's folder, or of its place on the hub; empty where there is none."""
    from transformers.utils.hub import cached_file

    found = cached_file(
        str(name), file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(found).read_text()) if found else {}
