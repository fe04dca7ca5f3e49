"""The text towers of open_clip, wrapped: its text transformer, that of CoCa, and models of `transformers`.

    pooled = what open_clip's encode_text gives before it is scaled to length 1

open_clip fills every text up to the tower's full length. A causal tower pooled at a token of the text never looks at
what follows it, so here texts end with the longest of the batch and the answer is the same; a tower that reads its
padding says how far texts must be `filled`. Use them for architectures that `TextTransformer` is not; `text_tower`
chooses the class. The projection is part of the tower, so the head is `UnitLength`. Needs the package `open_clip`.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773); CoCa's, Yu et al. 2022, arXiv 2205.01917.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.data.open_clip_text import open_clip_library


class OpenClipText(Encoder):
    """open_clip's text transformer, causal or not, pooled at one token.

    Args:
        embed_dim: D of the pooled features, where there is a projection.
        text_cfg: open_clip's configuration of the tower, as plain values.
        quick_gelu: whether its MLPs use the quick GELU.

    Attributes:
        filled: tokens that every text must be filled up to, since the tower reads its padding; None if it does not.
        places: the longest T.

    Raises:
        ValueError: if open_clip cannot build it.
    """

    def __init__(self, embed_dim: int, text_cfg: Mapping[str, Any], *, quick_gelu: bool = False) -> None:
        super().__init__()
        self.embed_dim, self.text_cfg, self.quick_gelu = embed_dim, dict(text_cfg), quick_gelu
        self.tower: Any = _built(embed_dim, self.text_cfg, quick_gelu)
        self.places = int(self.tower.context_length)
        self.width = int(self.tower.width if self.tower.text_projection is None else embed_dim)
        self.filled = self.places if self.tower.attn_mask is None or self.tower.pool_type == "last" else None

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The transformer's blocks."""
        return self.tower.transformer.resblocks

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool to tokens `[N, T, D]`.

        A text with several ends written out is pooled at its first, so there its mask ends.

        Raises:
            ValueError: if T is more than `places`, or other than `filled`.
        """
        ids, mask = inputs["ids"], inputs["mask"]
        self._check(ids)
        if self.tower.pool_type in ("argmax", "eos"):
            kept = ids.masked_fill(~mask, 0)
            found = kept if self.tower.pool_type == "argmax" else (mask & (ids == self.tower.eos_id)).int()
            mask = mask & (torch.arange(ids.shape[1], device=ids.device) <= found.argmax(1)[:, None])
        return Tokens(self.tower.token_embedding(ids) + self.tower.positional_embedding[: ids.shape[1]], mask)

    def contextualise(self, tokens: Tokens) -> Tokens:
        t = tokens.x.shape[1]
        look = None if self.tower.attn_mask is None else self.tower.attn_mask[:t, :t]
        return Tokens(self.tower.transformer(tokens.x, attn_mask=look), tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        x, mask = self.tower.ln_final(tokens.x), tokens.mask
        assert mask is not None
        if self.tower.pool_type in ("first", "last"):
            pooled = x[:, 0 if self.tower.pool_type == "first" else -1]
        else:
            pooled = x[torch.arange(x.shape[0], device=x.device), (mask.sum(1) - 1).clamp(min=0)]
        return Features(self._projected(pooled), x, mask)

    def _check(self, ids: Tensor) -> None:
        t = ids.shape[1]
        if t > self.places or (self.filled is not None and t != self.filled):
            wanted = (
                f"at most {self.places}" if self.filled is None else f"exactly {self.filled}, filled up with padding"
            )
            raise ValueError(f"texts of {t} tokens; this encoder takes {wanted}")

    def _projected(self, pooled: Tensor) -> Tensor:
        projection = self.tower.text_projection
        if projection is None:
            return pooled
        return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection


class OpenClipClassText(OpenClipText):
    """CoCa's text transformer: causal, with a class token after the padding, which is what is pooled.

    Arguments as for `OpenClipText`. Its tokens come before the last LayerNorm, as CoCa's decoder reads them.
    """

    def __init__(self, embed_dim: int, text_cfg: Mapping[str, Any], *, quick_gelu: bool = False) -> None:
        super().__init__(embed_dim, text_cfg, quick_gelu=quick_gelu)
        self.filled = self.places

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool to tokens `[N, T + 1, D]`, the class token last.

        Ids that are the padding's are never looked at, also where a text has them, as open_clip does.
        """
        ids, mask = inputs["ids"], inputs["mask"]
        self._check(ids)
        last = self.tower.cls_emb.expand(ids.shape[0], 1, -1)
        x = torch.cat([self.tower.token_embedding(ids), last], 1) + self.tower.positional_embedding
        return Tokens(x, F.pad(mask & (ids != self.tower.pad_id), (0, 1), value=True))

    def contextualise(self, tokens: Tokens) -> Tokens:
        assert tokens.mask is not None
        # open_clip shifts the padding by one place, and its weights were trained so: the first pad is looked at.
        seen = F.pad(tokens.mask[:, :-1], (1, 0), value=True)
        hidden = torch.zeros_like(seen, dtype=tokens.x.dtype).masked_fill(~seen, float("-inf"))
        look = (self.tower.attn_mask + hidden[:, None]).repeat_interleave(self.tower.heads, 0)
        return Tokens(self.tower.transformer(tokens.x, attn_mask=look), tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        assert tokens.mask is not None
        pooled = self._projected(self.tower.ln_final(tokens.x[:, -1]))
        return Features(pooled, tokens.x[:, :-1], tokens.mask[:, :-1])


class OpenClipHubText(Encoder):
    """A model of `transformers` with open_clip's pooling and projection; its last hidden states are the tokens.

    Args:
        embed_dim: D of the pooled features.
        text_cfg: open_clip's configuration of the tower, as plain values.
        hub_config: the configuration of the model of `transformers`, as plain values with `model_type`.

    Attributes:
        filled: None: padding is hidden from the model.
        places: the longest T; None if any length will do.

    Raises:
        ValueError: if open_clip cannot build it.
    """

    filled = None

    def __init__(self, embed_dim: int, text_cfg: Mapping[str, Any], hub_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.embed_dim, self.text_cfg, self.hub_config = embed_dim, dict(text_cfg), dict(hub_config)
        with TemporaryDirectory() as folder:  # open_clip knows a model by a folder, and reads no weights from it
            (Path(folder) / "config.json").write_text(json.dumps(self.hub_config))
            local = {**self.text_cfg, "hf_model_name": folder, "hf_model_pretrained": False}
            self.tower: Any = _built(embed_dim, local, False)
        self.tower.float()
        self.width = embed_dim
        self.places = _places(self.tower.config)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The whole model, as one block; not registered twice."""
        return nn.ModuleList([self.tower.transformer])

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`ids` `[N, T]` int64 and `mask` `[N, T]` bool; the model embeds the ids itself, and never sees its pad id."""
        ids, mask = inputs["ids"], inputs["mask"]
        if self.places is not None and ids.shape[1] > self.places:
            raise ValueError(f"texts of {ids.shape[1]} tokens; this encoder takes at most {self.places}")
        seen = mask & (ids != self.tower.config.pad_token_id)
        return Tokens(ids, F.pad(seen[:, 1:], (1, 0), value=True))  # attention to nothing is not a number

    def contextualise(self, tokens: Tokens) -> Tokens:
        assert tokens.mask is not None
        ids = tokens.x.masked_fill(~tokens.mask, self.tower.config.pad_token_id)  # some count their places by it
        said = self.tower.transformer(input_ids=ids, attention_mask=tokens.mask.long())
        return Tokens(said.last_hidden_state, tokens.mask)

    def pool(self, tokens: Tokens) -> Features:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        assert tokens.mask is not None
        own = getattr(self.tower.transformer, "pooler", None)
        said = BaseModelOutputWithPooling(tokens.x, None if own is None else own(tokens.x))  # type: ignore[arg-type]
        return Features(self.tower.proj(self.tower.pooler(said, tokens.mask.long())), tokens.x, tokens.mask)


def text_tower(
    embed_dim: int,
    text_cfg: Mapping[str, Any],
    *,
    quick_gelu: bool = False,
    hub_config: Mapping[str, Any] | None = None,
) -> OpenClipText | OpenClipHubText:
    """The text tower of a configuration, with random weights.

    Args:
        embed_dim, text_cfg, quick_gelu: as for `OpenClipText`.
        hub_config: as for `OpenClipHubText`; needed where `text_cfg` names a model of `transformers`.

    Raises:
        ValueError: if the configuration names what cannot be opened.
    """
    known = {field.name for field in fields(open_clip_library().CLIPTextCfg)}
    if unknown := sorted(set(text_cfg) - known):
        raise ValueError(f"text_cfg has {unknown}, which this version of open_clip does not know: update open_clip")
    if text_cfg.get("hf_model_name"):
        if hub_config is None:
            raise ValueError(f"the configuration of {text_cfg['hf_model_name']!r} is needed to build its text tower")
        return OpenClipHubText(embed_dim, text_cfg, hub_config)
    if text_cfg.get("pool_type") == "none":
        raise ValueError("text_cfg.pool_type is 'none', which gives no single vector a text")
    kind = OpenClipClassText if text_cfg.get("embed_cls") else OpenClipText
    return kind(embed_dim, text_cfg, quick_gelu=quick_gelu)


def _built(embed_dim: int, text_cfg: dict[str, Any], quick_gelu: bool) -> nn.Module:
    from open_clip.model import _build_text_tower

    try:
        return _build_text_tower(embed_dim, text_cfg, quick_gelu)  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise ValueError(f"open_clip cannot build the text tower {text_cfg}: {error!r}") from error


def _places(config: Any) -> int | None:
    """How long the texts of a model of `transformers` may be."""
    places = getattr(config, "max_position_embeddings", None)
    if places is None:
        return None
    # RoBERTa's kind counts its places from the one after the padding's id.
    return places - config.pad_token_id - 1 if "roberta" in config.model_type else places
