"""Models of open_clip, opened: every family gives the answers of open_clip itself."""

from __future__ import annotations

import json
import sys
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
from diptych.encoders.open_clip_image import OpenClipResNet, OpenClipTimm, OpenClipViT
from diptych.encoders.open_clip_text import OpenClipClassText, OpenClipHubText, OpenClipText
from diptych.models import load, save
from diptych.models.opening.open_clip import find, towers

open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra: pip install 'diptych[open-clip]'")

CLOSE: Any = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums in another order
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
    "b !(* c",  # "!" before a mark is CLIP's id 0, which is its padding's too
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
        "vision_cfg": timm_cfg("eva02_tiny_patch14_224", 28, "token", None),
        "text_cfg": TEXT,
        "custom_text": True,
    },
    "mobileclip": {
        "vision_cfg": timm_cfg("fastvit_mci0", 64, "avg", None),
        "text_cfg": {**TEXT, "no_causal_mask": True},
        "custom_text": True,
    },
    "vitamin": {"vision_cfg": timm_cfg("vitamin_small_224", 32, "", "linear"), "text_cfg": TEXT, "custom_text": True},
    "swin": {"vision_cfg": timm_cfg("swin_tiny_patch4_window7_224", 56, "avg", "linear"), "text_cfg": TEXT},
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


@pytest.fixture
def small_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of `timm` with their blocks, but few and narrow, for open_clip as for us."""
    import timm
    from timm.models.vitamin import VitCfg, VitConvCfg

    conv = VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
    embed = VitCfg(embed_dim=(8, 16, 48), depths=(1, 1, 1), stem_width=8, conv_cfg=conv, head_type="1d")
    fewer = {
        "eva02_tiny_patch14_224": {"img_size": 28, "depth": 2, "ref_feat_shape": (2, 2)},
        "fastvit_mci0": {"layers": (1, 1, 1, 1), "embed_dims": (16, 16, 32, 32)},
        "vitamin_small_224": {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 2, "embed_cfg": embed},
        "swin_tiny_patch4_window7_224": {"img_size": 56, "embed_dim": 12, "depths": (1, 2), "num_heads": (1, 2)},
    }
    whole = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **options: whole(name, **options, **fewer.get(name, {})))


@pytest.mark.parametrize(("family", "wrapped"), [*((f, False) for f in FAMILIES), *((f, True) for f in NATIVE)])
def test_a_family_gives_the_answers_of_open_clip(family: str, wrapped: bool, tmp_path: Path, small_timm: None):
    folder, peer = folder_of(family, tmp_path)
    model = diptych.load(f"open_clip:{folder}", wrapped=wrapped)
    native = family in NATIVE and not wrapped
    image_kind = OpenClipTimm if "timm_model_name" in FAMILIES[family]["vision_cfg"] else OpenClipViT
    image_kind = OpenClipResNet if family == "resnet" else image_kind
    assert type(model.towers["image"]) is (VisionTransformer if native else image_kind)
    assert type(model.towers["text"]) is (TextTransformer if native else TEXT_KINDS.get(family, OpenClipText))
    pixels = model.processors["image"](pictures())["pixels"]
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**peer.visual.preprocess_cfg), is_train=False
    )
    theirs = torch.stack([transform(picture) for picture in pictures()])
    std = torch.tensor(model.towers["image"].std).view(1, -1, 1, 1)
    off = (as_open_clip(model, pixels) - theirs).abs() * std * 255
    assert off.max() <= 1.001  # one grey level: both round to whole ones, in sums of another order

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


def test_an_architecture_alone_has_the_random_weights_of_open_clip(monkeypatch: pytest.MonkeyPatch):
    for name, vision in (("tiny", VIT), ("tiny-wrapped", {**VIT, "mlp_ratio": 2.0})):
        config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": TEXT}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        torch.manual_seed(3)
        peer = open_clip.create_model(name).eval()
        torch.manual_seed(3)
        model = diptych.load(f"open_clip:{name}")
        inputs = model.processors["text"](TEXTS)
        with torch.no_grad():
            expected = peer.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
            torch.testing.assert_close(model.encode("text", inputs).dense, expected, **CLOSE)
            pixels = model.processors["image"](pictures())["pixels"]
            expected = peer.encode_image(as_open_clip(model, pixels), normalize=True)
            torch.testing.assert_close(model.encode("image", {"pixels": pixels}).dense, expected, **CLOSE)
        assert model.parts["dot"].current_scale().item() == pytest.approx(1 / 0.07)  # type: ignore[operator]


def tag_of(monkeypatch: pytest.MonkeyPatch, folder: Path, **pretrained: Any) -> list[tuple[str, list[str]]]:
    """Let the tag `made` of ViT-B-32 be in a folder that stands for the hub; what is asked of the hub is noted."""
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", {**config, "quick_gelu": False})
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED["ViT-B-32"], "made", pretrained)
    asked = []

    def fetch(repository: str, *, allow_patterns: list[str]) -> str:
        asked.append((repository, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    return asked


def test_a_tag_gives_weights_pixels_and_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, peer = folder_of("quickgelu", tmp_path)
    how = {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (0.5,) * 3, "resize_mode": "squash"}
    asked = tag_of(monkeypatch, folder, hf_hub="org/made/", **how)
    model = diptych.load("open_clip:ViT-B-32/made")
    assert asked == [("org/made", ["open_clip_model.safetensors"])]  # no pickle is even fetched
    ids = open_clip.get_tokenizer("ViT-B-32", context_length=LENGTH)(TEXTS)
    with torch.no_grad():
        got = model.encode("text", model.processors["text"](TEXTS)).dense
        torch.testing.assert_close(got, peer.encode_text(ids, normalize=True), **CLOSE)
    assert tuple(model.towers["image"].mean) == (0.1, 0.2, 0.3)  # type: ignore[arg-type]
    assert model.processors["image"].resize == "squash"  # type: ignore[attr-defined]


def test_a_place_on_the_hub_is_opened_like_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _ = folder_of("plain", tmp_path)
    asked = tag_of(monkeypatch, folder)
    hub, own = (diptych.load(f"open_clip:{name}") for name in ("hf-hub:org/made", folder))
    assert asked[0][0] == "org/made" and not any("bin" in pattern for pattern in asked[0][1])
    inputs = own.processors["text"](TEXTS)
    assert torch.equal(hub.encode("text", inputs).dense, own.encode("text", inputs).dense)


def test_pickled_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _ = folder_of("plain", tmp_path)
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only \['open_clip_pytorch_model.bin'\]: pickles are never opened; convert"):
        diptych.load(f"open_clip:{folder}")
    tag_of(monkeypatch, folder, hf_hub="org/made/pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pickled on the hub \(org/made\): pickles are never opened"):
        diptych.load("open_clip:ViT-B-32/made")
    tag_of(monkeypatch, folder, url="https://example.org/made.pt")
    with pytest.raises(ValueError, match=r"pickled, at https://example.org/made.pt"):
        diptych.load("open_clip:ViT-B-32/made")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33", r"no architecture 'ViT-B-33'; near it: .*ViT-B-32"),
        ("ViT-B-32/laion", r"no weights 'laion' of ViT-B-32; it has: laion"),
        ("qqqqqq", r"near it: see open_clip.list_models"),
    ],
)
def test_unknown_names_are_refused_with_those_near(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        diptych.load(f"open_clip:{name}")


def change(folder: Path, *keys: str, to: Any) -> None:
    """Set an entry of a folder's configuration."""
    content = json.loads((folder / "open_clip_config.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    (folder / "open_clip_config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (("model_cfg",), {}, r"lacks \['embed_dim', 'text_cfg', 'vision_cfg'\]"),
        (("model_cfg", "audio_cfg"), {}, r"has \['audio_cfg'\]; only models of an image and a text tower"),
        (("model_cfg", "vision_cfg", "image_size"), [32, 64], r"32 x 64; only square images"),
        (
            ("model_cfg", "vision_cfg", "timm_model_name"),
            "naflexvit_base_patch16",
            r"squares of one size: .*without NaFlex",
        ),
        (("model_cfg", "vision_cfg", "timm_model_name"), "no_such", r"cannot build the image tower.*no_such"),
        (("model_cfg", "vision_cfg", "new"), 1, r"vision_cfg has \['new'\].*update open_clip"),
        (("model_cfg", "vision_cfg", "pool_type"), "none", r"no single vector an image"),
        (("model_cfg", "vision_cfg", "width"), 16, r"does not fit the configuration"),
        (("model_cfg", "text_cfg", "new"), 1, r"text_cfg has \['new'\].*update open_clip"),
        (("model_cfg", "text_cfg", "pool_type"), "none", r"no single vector a text"),
        (("model_cfg", "text_cfg", "pool_type"), "mean", r"cannot build the text tower"),
        (("model_cfg", "text_cfg", "context_length"), 9, r"weights have places for 14 tokens, its configuration for 9"),
        (("model_cfg", "text_cfg", "tokenizer_kwargs"), {"reduction_mask": "random"}, r"options \['reduction_mask'\]"),
        (("preprocess_cfg", "resize_mode"), "other", r"resized by 'other' and 'random'"),
    ],
)
def test_what_cannot_be_opened_is_refused_and_named(keys: tuple[str, ...], to: Any, message: str, made: Path):
    kept = (made / "open_clip_config.json").read_text()
    change(made, *keys, to=to)
    try:
        with pytest.raises(ValueError, match=message):
            diptych.load(f"open_clip:{made}", wrapped=True)
    finally:
        (made / "open_clip_config.json").write_text(kept)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the plain family."""
    return folder_of("plain", tmp_path_factory.mktemp("made"))[0]


def test_a_folder_that_is_none_or_damaged_is_refused(tmp_path: Path, made: Path):
    with pytest.raises(ValueError, match=r"no model of open_clip: its open_clip_config.json cannot be read"):
        diptych.load(f"open_clip:{tmp_path}")
    (tmp_path / "open_clip_config.json").write_text((made / "open_clip_config.json").read_text())
    with pytest.raises(ValueError, match=r"has no open_clip_model.safetensors"):
        diptych.load(f"open_clip:{tmp_path}")
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"damaged, or no file of safetensors"):
        diptych.load(f"open_clip:{tmp_path}")


def test_without_open_clip_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'diptych\[open-clip\]'"):
        diptych.load("open_clip:ViT-B-32")


@pytest.mark.parametrize(
    ("family", "wrapped"), [("plain", False), ("plain", True), ("roberta", False), ("siglip", False)]
)
def test_long_texts_are_cut_and_counted_or_an_error(family: str, wrapped: bool, tmp_path: Path):
    folder, peer = folder_of(family, tmp_path)
    texts = ["a dog", "b " * 40, "c " * 3]
    model = diptych.load(f"open_clip:{folder}", max_length=8, wrapped=wrapped)
    rows, cut = model.processors["text"].encode(texts)  # type: ignore[attr-defined]
    assert cut.tolist() == [False, True, False] and max(map(len, rows)) == 8
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    ids = tokenizer(texts, context_length=8)
    if family == "siglip":  # it reads its padding, so texts that are cut earlier are filled up all the same
        ids = F.pad(ids, (0, LENGTH - 8), value=1)
    else:
        ids = F.pad(ids, (0, LENGTH - 8), value=1 if family == "roberta" else 0)
    with torch.no_grad():
        expected = F.normalize(peer.encode_text(ids), dim=-1)
        got = model.encode("text", model.processors["text"](texts)).dense
        torch.testing.assert_close(got, expected, **CLOSE)
    strict = diptych.load(f"open_clip:{folder}", too_long="error", wrapped=wrapped)
    with pytest.raises(ValueError, match=r"1 of 3 texts have more than 14 tokens, the first 'b b b"):
        strict.processors["text"](texts)


@pytest.mark.parametrize(("family", "wrapped"), [("plain", False), ("plain", True), ("siglip", False), ("coca", False)])
def test_more_length_stretches_the_places(family: str, wrapped: bool, tmp_path: Path):
    folder, peer = folder_of(family, tmp_path)
    texts, length = [*TEXTS[:-1], "b " * (10 if family == "siglip" else 20)], 25  # 22 tokens each
    model = diptych.load(f"open_clip:{folder}", max_length=length, wrapped=wrapped, too_long="error")
    change(folder, "model_cfg", "text_cfg", "context_length", to=length)
    (folder / "open_clip_model.safetensors").unlink()
    longer = open_clip.create_model(f"local-dir:{folder}").eval()
    weights, old = peer.state_dict(), getattr(peer, "text", peer).positional_embedding.detach()
    # As Long-CLIP says: 12 of the 14 places stay, the last two become 13; the class token keeps its own.
    new = torch.stack([old[j] if j < 12 else old[12] + (j - 12) * 2 / 13 * (old[13] - old[12]) for j in range(length)])
    name = "positional_embedding" if hasattr(peer, "positional_embedding") else "text.positional_embedding"
    longer.load_state_dict({**weights, name: torch.cat([new, old[LENGTH:]])})
    with torch.no_grad():
        expected = F.normalize(longer.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(texts)), dim=-1)
        got = model.encode("text", model.processors["text"](texts)).dense
    torch.testing.assert_close(got, expected, **CLOSE)


def test_places_that_cannot_be_stretched_are_an_error(tmp_path: Path):
    folder, _ = folder_of("roberta", tmp_path)
    assert diptych.load(f"open_clip:{folder}", max_length=18).processors["text"].max_length == 18  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"has places for 18 tokens, fewer than max_length, 19, and they cannot"):
        diptych.load(f"open_clip:{folder}", max_length=19)
    with pytest.raises(ValueError, match=r"max_length is 2"):
        diptych.load(f"open_clip:{folder}", max_length=2)


@pytest.mark.parametrize("wrapped", [False, True])
def test_another_size_of_images_resizes_their_places(wrapped: bool, tmp_path: Path):
    folder, _ = folder_of("plain", tmp_path)
    change(folder, "model_cfg", "vision_cfg", "image_size", to=48)
    peer = open_clip.create_model(f"local-dir:{folder}").eval()
    model = diptych.load(f"open_clip:{folder}", wrapped=wrapped)
    pixels = model.processors["image"](pictures())["pixels"]
    assert pixels.shape[2:] == (48, 48)
    with torch.no_grad():
        expected = peer.encode_image(as_open_clip(model, pixels), normalize=True)
        torch.testing.assert_close(model.encode("image", {"pixels": pixels}).dense, expected, **CLOSE)


def test_its_towers_can_be_paired_with_others(tmp_path: Path):
    for family in ("plain", "coca"):
        (tmp_path / family).mkdir()
    (one, a), (two, b) = (folder_of(family, tmp_path / family) for family in ("plain", "coca"))
    model = diptych.load(f"open_clip:{two}+open_clip:{one}", max_length=9)
    pixels, texts = model.processors["image"](pictures())["pixels"], model.processors["text"](TEXTS)
    with torch.no_grad():
        expected = b.encode_image(as_open_clip(model, pixels), normalize=False)
        torch.testing.assert_close(model.features("image", {"pixels": pixels}).pooled, expected, **CLOSE)
        ids = F.pad(open_clip.get_tokenizer(f"local-dir:{one}")(TEXTS, context_length=9), (0, LENGTH - 9))
        pooled = model.features("text", texts).pooled @ a.text_projection  # its own projection is left out
        torch.testing.assert_close(pooled, a.encode_text(ids), **CLOSE)
    assert model.encode("image", {"pixels": pixels}).dense.shape[1] == model.encode("text", texts).dense.shape[1]


@pytest.mark.parametrize("log_scale", [5.0, 4.605171])
def test_a_scale_above_ours_is_kept(log_scale: float, tmp_path: Path):
    folder, peer = folder_of("plain", tmp_path)
    with torch.no_grad():
        peer.logit_scale.fill_(log_scale)
    save_file(peer.state_dict(), folder / "open_clip_model.safetensors")
    dot = diptych.load(f"open_clip:{folder}").parts["dot"]
    assert dot.current_scale().item() == pytest.approx(peer.logit_scale.exp().item(), rel=1e-6)  # type: ignore[operator]
    assert dot.max_scale == (100 if log_scale < 5 else pytest.approx(148.413, rel=1e-5))


@pytest.mark.parametrize("family", ["plain", "coca", "roberta", "mt5", "siglip"])
def test_a_view_without_rows_has_gradients_of_zero(family: str, tmp_path: Path):
    model = diptych.load(f"open_clip:{folder_of(family, tmp_path)[0]}", wrapped=True)
    inputs = {name: x[:0] for name, x in model.processors["text"](TEXTS).items()}
    model.encode("text", inputs).dense.sum().backward()
    grads = [x.grad for x in model.towers["text"].parameters() if x.grad is not None]
    assert grads and all(bool((grad == 0).all()) for grad in grads)


# Their text towers are models of `transformers`, whose configuration open_clip does not bring along.
NEED_THE_HUB = {
    "coca_roberta-ViT-B-32",
    "mt5-base-ViT-B-32",
    "mt5-xl-ViT-H-14",
    "nllb-clip-base",
    "nllb-clip-base-siglip",
    "nllb-clip-large",
    "nllb-clip-large-siglip",
    "roberta-ViT-B-32",
    "xlm-roberta-base-ViT-B-32",
    "xlm-roberta-large-ViT-H-14",
}


@pytest.fixture
def no_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights as memory has them: on the meta device the random numbers are what takes the time."""

    def leave(*arguments: Any, **named: Any) -> Any:
        return arguments[0] if arguments else named["tensor"]

    for name in ("normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, leave)
    for name in ("zeros_", "ones_", "constant_"):
        monkeypatch.setattr(torch.nn.init, name, leave)
    monkeypatch.setattr("timm.layers.weight_init._trunc_normal_", leave)


def no_hub(*_: object, **__: object) -> None:
    raise OSError("no network in tests")


def test_every_architecture_that_open_clip_lists_can_be_opened(monkeypatch: pytest.MonkeyPatch, no_init: None):
    """On the meta device, where weights take neither memory nor time."""
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", no_hub)
    refused = {}
    for name in open_clip.list_models():
        source = find(name)
        try:
            with torch.device("meta"):
                image, text = towers(source)
        except ValueError as error:
            refused[name] = str(error)
            continue
        dim = source.config["embed_dim"]
        assert (image.width, text.width) == (dim, dim), name
        assert len(image.blocks) and len(text.blocks) == source.config["text_cfg"]["layers"], name
        assert text.places == source.config["text_cfg"].get("context_length", 77), name
        alone = source.config["text_cfg"].get("no_causal_mask") or source.config["text_cfg"].get("embed_cls")
        assert text.filled == (text.places if alone else None), name
    assert set(refused) == NEED_THE_HUB
    assert all("whose configuration cannot be read: no network in tests" in said for said in refused.values())


def test_text_towers_of_transformers_are_opened_once_their_configuration_is_there(
    monkeypatch: pytest.MonkeyPatch, no_init: None
):
    from transformers import M2M100Config, MT5Config, RobertaConfig, XLMRobertaConfig

    def known(name: str) -> Any:
        kinds = {"mt5": MT5Config, "nllb": M2M100Config, "xlm": XLMRobertaConfig, "roberta": RobertaConfig}
        return next(kind for part, kind in kinds.items() if part in name)()

    monkeypatch.setattr("diptych.models.opening.open_clip._hub_config", lambda name: known(name).to_dict())
    for name in sorted(NEED_THE_HUB):
        source = find(name)
        with torch.device("meta"):
            image, text = towers(source)
        assert image.width == text.width == source.config["embed_dim"], name
        assert text.filled is None, name


def test_no_code_of_a_checkpoint_runs(tmp_path: Path):
    folder_of("siglip", tmp_path)
    (tmp_path / "ran.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('RAN').touch()\nclass T: pass\n"
    )
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    said |= {"auto_map": {"AutoTokenizer": ["ran.T", "ran.T"]}, "tokenizer_class": "T"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    change(tmp_path, "model_cfg", "text_cfg", "tokenizer_kwargs", to={"trust_remote_code": True})
    with pytest.raises(ValueError, match="trust_remote_code"):
        diptych.load(f"open_clip:{tmp_path}")
    assert not (tmp_path / "RAN").exists()
