"""CLIP's weights by the names of open_clip and by those of `transformers`' CLIPModel, both ways.

    open_clip: visual.transformer.resblocks.0.attn.in_proj_weight     q, k and v in one
    hf:        vision_model.encoder.layers.0.self_attn.{q,k,v}_proj.weight

Nothing is computed: weights are renamed, cut in three or joined, and the projections are transposed.

Sources: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773); Wolf et al. 2020, arXiv 1910.03771.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TOWERS = {
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
}
_BLOCK = {
    "ln_1.weight": "layer_norm1.weight",
    "ln_1.bias": "layer_norm1.bias",
    "attn.out_proj.weight": "self_attn.out_proj.weight",
    "attn.out_proj.bias": "self_attn.out_proj.bias",
    "ln_2.weight": "layer_norm2.weight",
    "ln_2.bias": "layer_norm2.bias",
    "mlp.c_fc.weight": "mlp.fc1.weight",
    "mlp.c_fc.bias": "mlp.fc1.bias",
    "mlp.c_proj.weight": "mlp.fc2.weight",
    "mlp.c_proj.bias": "mlp.fc2.bias",
}
_JOINED = {"attn.in_proj_weight": "weight", "attn.in_proj_bias": "bias"}
_OUTSIDE = {
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = ("visual.proj", "text_projection")
_UNUSED = re.compile(r"(vision|text)_model\.embeddings\.position_ids")  # numbers 0, 1, 2 ... that older files keep
_THEIR_BLOCK = re.compile(r"(.*\.resblocks)\.(\d+)\.(.*)")
_HF_BLOCK = re.compile(r"(.*\.layers)\.(\d+)\.(.*)")


def to_hf(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `CLIPModel` from that of open_clip's CLIP.

    Args:
        weights: by open_clip's names.

    Raises:
        ValueError: if a name is not one of a plain ViT and the standard text transformer.
    """
    named: dict[str, Tensor] = {}
    for name, weight in weights.items():
        block = _THEIR_BLOCK.fullmatch(name)
        if name in _OUTSIDE:
            named[_OUTSIDE[name]] = weight.t().contiguous() if name in _TRANSPOSED else weight
        elif block and block[1] in _TOWERS and block[3] in _BLOCK:
            named[f"{_TOWERS[block[1]]}.{block[2]}.{_BLOCK[block[3]]}"] = weight
        elif block and block[1] in _TOWERS and block[3] in _JOINED:
            for letter, part in zip("qkv", weight.chunk(3), strict=True):
                named[_cut_name(_TOWERS[block[1]], block[2], letter, _JOINED[block[3]])] = part.contiguous()
        else:
            raise ValueError(f"{name!r} is no weight of open_clip's plain ViT or standard text transformer")
    return named


def from_hf(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of open_clip's CLIP from that of `CLIPModel`; the inverse of `to_hf`.

    Args:
        weights: by the names of `CLIPModel`.

    Raises:
        ValueError: if a name is not one of CLIPModel's, or a third of what is to be joined is missing.
    """
    outside = {hf: theirs for theirs, hf in _OUTSIDE.items()}
    towers = {hf: theirs for theirs, hf in _TOWERS.items()}
    inside = {hf: theirs for theirs, hf in _BLOCK.items()}
    named: dict[str, Tensor] = {}
    for name, weight in weights.items():
        block = _HF_BLOCK.fullmatch(name)
        if name in outside:
            named[outside[name]] = weight.t().contiguous() if outside[name] in _TRANSPOSED else weight
        elif block and block[1] in towers and block[3] in inside:
            named[f"{towers[block[1]]}.{block[2]}.{inside[block[3]]}"] = weight
        elif block and block[1] in towers and (cut := re.fullmatch(r"self_attn\.[qkv]_proj\.(weight|bias)", block[3])):
            thirds = [_cut_name(block[1], block[2], letter, cut[1]) for letter in "qkv"]
            if missing := [third for third in thirds if third not in weights]:
                raise ValueError(f"missing {missing} beside {name!r}; queries, keys and values are joined")
            named[f"{towers[block[1]]}.{block[2]}.attn.in_proj_{cut[1]}"] = torch.cat([weights[one] for one in thirds])
        elif not _UNUSED.fullmatch(name):
            raise ValueError(f"{name!r} is no weight of transformers' CLIPModel")
    return named


def _cut_name(tower: str, block: str, letter: str, kind: str) -> str:
    return f"{tower}.{block}.self_attn.{letter}_proj.{kind}"
