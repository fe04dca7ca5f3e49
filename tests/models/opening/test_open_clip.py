"""Models of open_clip, opened: every family gives the answers of open_clip itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F

import diptych
from diptych.core import Model
from diptych.encoders import TextTransformer, VisionTransformer
from diptych.encoders.open_clip_text import OpenClipClassText, OpenClipHubText
from diptych.models import load, save

open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra: pip install 'diptych[open-clip]'")

CLOSE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order
LENGTH = 14
TEXTS = [
    "",
    "a dog",
    "  A\tDOG !\n runs, fast_er ",
    "caf\u00e9 &amp;amp; na\u00efve &lt;3",
    "sch\u00c3\u00b6n",
    "\u65e5\u672c\u8a9e \U0001f415",
    "a <end_of_text> b",
    "!?! !!! it's",
    "one two three four five six seven eight nine ten eleven twelve thirteen",
]
VIT = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": LENGTH, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
SIGLIP = {
    "context_length": LENGTH,
    "vocab_size": 64,
    "width": 16,
    "heads": 2,
    "layers": 2,
    "hf_tokenizer_name": "somewhere/siglip",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
    "act_kwargs": {"approximate": "tanh"},
}


def timm_cfg(name: str, size: int, pool: str, proj: str | None) -> dict[str, Any]:
    return {
        "image_size": size,
        "timm_model_name": name,
        "timm_model_pretrained": True,
        "timm_pool": pool,
        "timm_proj": proj,
    }


COCA = {
    "vision_cfg": {
        **VIT,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "attn_pooler_queries": 5,
        "output_tokens": True,
    },
    "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
    "custom_text": True,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "plain": {"vision_cfg": VIT, "text_cfg": TEXT},
    "quickgelu": {"vision_cfg": {**VIT, "no_ln_pre": True}, "text_cfg": TEXT, "quick_gelu": True},
    "vit": {
        "vision_cfg": {**VIT, "mlp_ratio": 3.0, "pool_type": "avg", "final_ln_after_pool": True, "ls_init_value": 0.5},
        "text_cfg": TEXT,
    },
    "clipa": {
        "vision_cfg": {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": {
            **SIGLIP,
            "tokenizer_kwargs": {"strip_sep_token": True},
            "act_kwargs": None,
            "norm_kwargs": None,
            "proj_bias": False,
        },
    },
    "worldwide": {
        "vision_cfg": VIT,
        "text_cfg": {**TEXT, "vocab_size": 64, "hf_tokenizer_name": "x/y", "pool_type": "eos", "eos_id": 2},
    },
    "siglip": {
        "vision_cfg": timm_cfg("test_vit", 160, "map", "none"),
        "text_cfg": SIGLIP,
        "custom_text": True,
        "init_logit_bias": -10,
        "embed_dim": 64,
    },
    "coca": COCA,
    "convnext": {"vision_cfg": timm_cfg("test_convnext", 64, "", "mlp"), "text_cfg": TEXT},
    "eva02": {
        "vision_cfg": timm_cfg("eva02_tiny_patch14_224", 224, "token", None),
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "mobileclip": {
        "vision_cfg": timm_cfg("fastvit_mci0", 64, "avg", None),
        "text_cfg": {**TEXT, "no_causal_mask": True},
        "custom_text": True,
    },
    "vitamin": {"vision_cfg": timm_cfg("vitamin_small_224", 224, "", "linear"), "text_cfg": TEXT, "custom_text": True},
    "swin": {"vision_cfg": timm_cfg("swin_tiny_patch4_window7_224", 224, "avg", "linear"), "text_cfg": TEXT},
    "resnet": {
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        "text_cfg": TEXT,
    },
    "roberta": {
        "vision_cfg": VIT,
        "text_cfg": {"hf_model_name": "roberta", "hf_tokenizer_name": "roberta", "context_length": LENGTH},
    },
    "bert": {
        "vision_cfg": VIT,
        "text_cfg": {
            "hf_model_name": "bert",
            "hf_tokenizer_name": "bert",
            "hf_pooler_type": "cls_pooler",
            "hf_proj_type": "linear",
            "context_length": LENGTH,
        },
    },
    "mt5": {
        "vision_cfg": VIT,
        "text_cfg": {"hf_model_name": "mt5", "hf_tokenizer_name": "mt5", "context_length": LENGTH},
    },
}
PIXELS = {
    "plain": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "random"},
    "vit": {"resize_mode": "longest", "fill_color": 7, "interpolation": "bilinear"},
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
}
TEXT_KINDS = {"coca": OpenClipClassText, "roberta": OpenClipHubText, "bert": OpenClipHubText, "mt5": OpenClipHubText}
NATIVE = ("plain", "quickgelu")


def hub_model(kind: str, folder: Path) -> Path:
    """The configuration of a small model of `transformers`."""
    small = {"vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    both = {**small, "intermediate_size": 32, "max_position_embeddings": 20, "pad_token_id": 1, "type_vocab_size": 1}
    t5 = {"vocab_size": 64, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 1}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **(t5 if kind == "mt5" else both)}))
    return folder


def save_tokenizer(folder: Path) -> None:
    """Bytes as words, between a start and an end, with marks where `transformers` looks for them."""
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'&<3>_"]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0 - i) for i, word in enumerate(words)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", sep_token="</s>", eos_token="</s>"
    ).save_pretrained(folder)


def folder_of(family: str, folder: Path) -> tuple[Path, Any]:
    """A folder as open_clip puts one on the hub, and its model."""
    config = {"embed_dim": 12, **json.loads(json.dumps(FAMILIES[family]))}
    text = config["text_cfg"]
    if "hf_model_name" in text:
        text["hf_model_name"] = str(hub_model(text["hf_model_name"], folder / "hub"))
    if "hf_tokenizer_name" in text:
        save_tokenizer(folder)
    content = {"model_cfg": config, "preprocess_cfg": PIXELS.get(family, {})}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    peer = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False).eval()
    with torch.no_grad():  # biases, norms and scales off their plain starting values, so that a test sees them
        for parameter in peer.parameters():
            if parameter.dim() <= 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        if family == "resnet":
            peer.visual.attnpool.positional_embedding.mul_(0.1)
    save_file({n: x.contiguous() for n, x in peer.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder, peer


def pictures() -> list[Image.Image]:
    """Smooth pictures of odd sizes, one of them smaller than any tower's."""
    random = np.random.default_rng(0)
    sizes = [(333, 251), (101, 307), (57, 31)]
    small = [Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)) for _ in sizes]
    return [one.resize(size, Image.Resampling.BICUBIC) for one, size in zip(small, sizes, strict=True)]


def as_open_clip(model: Model, pixels: Tensor) -> Tensor:
    tower: Any = model.towers["image"]
    mean, std = (torch.tensor(x).view(1, -1, 1, 1) for x in (tower.mean, tower.std))
    return (pixels / 255 - mean) / std


def hooked(module: torch.nn.Module, run: Callable[[], Any]) -> Any:
    """What the module gives while something runs."""
    seen = []
    handle = module.register_forward_hook(lambda _, __, out: seen.append(out))
    run()
    handle.remove()
    return seen[0]


def image_tokens(peer: Any, x: Tensor) -> Tensor:
    visual = peer.visual
    if hasattr(visual, "trunk"):
        tokens = visual.trunk.forward_features(x)
        if tokens.dim() == 3:
            return tokens[:, getattr(visual.trunk, "num_prefix_tokens", 0) :]
        rows = tokens if getattr(visual.trunk, "output_fmt", "NCHW") == "NHWC" else tokens.permute(0, 2, 3, 1)
        return rows.flatten(1, 2)
    if hasattr(visual, "attnpool"):
        return hooked(visual.layer4, lambda: visual(x)).flatten(2).transpose(1, 2)
    kept, visual.output_tokens = visual.output_tokens, True
    tokens = visual(x)[1]
    visual.output_tokens = kept
    return tokens


def text_tokens(peer: Any, ids: Tensor) -> Tensor:
    text = getattr(peer, "text", peer)
    if hasattr(text, "pooler"):
        return hooked(text.transformer, lambda: text(ids)).last_hidden_state
    if getattr(text, "cls_emb", None) is not None:
        return text(ids)[1]
    return hooked(text.ln_final, lambda: peer.encode_text(ids))


@pytest.mark.parametrize(("family", "wrapped"), [*((f, False) for f in FAMILIES), *((f, True) for f in NATIVE)])
def test_a_family_gives_the_answers_of_open_clip(family: str, wrapped: bool, tmp_path: Path):
    folder, peer = folder_of(family, tmp_path)
    model = diptych.load(f"open_clip:{folder}", wrapped=wrapped)
    native = family in NATIVE and not wrapped
    assert (
        isinstance(model.towers["image"], VisionTransformer)
        == isinstance(model.towers["text"], TextTransformer)
        == native
    )
    pixels = model.processors["image"](pictures())["pixels"]
    theirs = torch.stack([preprocess(peer)(picture) for picture in pictures()])
    assert (as_open_clip(model, pixels) - theirs).abs().max() * 255 * max(model.towers["image"].std) <= 1.01  # type: ignore[arg-type, operator]

    inputs, ids = model.processors["text"](TEXTS), open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    x = as_open_clip(model, pixels)
    with torch.no_grad():
        image, text = model.features("image", {"pixels": pixels}), model.features("text", inputs)
        a, b = model.encode("image", {"pixels": pixels}), model.encode("text", inputs)
        unit = [F.normalize(peer.encode_image(x), dim=-1), F.normalize(peer.encode_text(ids), dim=-1)]
        torch.testing.assert_close(a.dense, unit[0], **CLOSE)
        torch.testing.assert_close(b.dense, unit[1], **CLOSE)
        if not native:
            coca = {"normalize": False}
            torch.testing.assert_close(image.pooled, peer.encode_image(x, **coca), **CLOSE)
            torch.testing.assert_close(text.pooled, peer.encode_text(ids, **coca), **CLOSE)
        assert image.tokens is not None and text.tokens is not None and text.mask is not None
        torch.testing.assert_close(image.tokens, image_tokens(peer, x), **CLOSE)
        assert image.grid is None or image.grid[0] * image.grid[1] == image.tokens.shape[1]
        of = text_tokens(peer, ids)[:, : text.mask.shape[1]]
        torch.testing.assert_close(text.tokens[text.mask], of[text.mask], **CLOSE)
        logits = peer.logit_scale.exp() * unit[0] @ unit[1].T + (0 if peer.logit_bias is None else peer.logit_bias)
        torch.testing.assert_close(model.parts["dot"](a, b), logits, rtol=1e-5, atol=1e-4)  # 1e-5, scaled by 14

    reference = {"image": {"pixels": pixels}, "text": inputs}
    save(model, tmp_path / "saved", reference=reference)
    (folder / "hub").rename(folder / "gone") if (folder / "hub").exists() else None  # nothing outside is read again
    again = load(tmp_path / "saved")
    with torch.no_grad():
        assert torch.equal(again.encode("image", reference["image"]).dense, a.dense)
        assert torch.equal(again.encode("text", again.processors["text"](TEXTS)).dense, b.dense)


def preprocess(peer: Any) -> Callable[[Image.Image], Tensor]:
    return open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**peer.visual.preprocess_cfg), is_train=False
    )
