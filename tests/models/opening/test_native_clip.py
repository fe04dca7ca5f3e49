"""CLIP models from open_clip's weights: the answers of a reference written with torch.nn, and of open_clip itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core import Batch, Model
from diptych.models import clip_from_folder, clip_from_weights, load, save
from diptych.models.opening.native_clip import MEAN, STD
from diptych.objectives import InfoNCE
from diptych.scoring import Dot
from diptych.training.step import step

SIZE, PATCH, LENGTH, WORDS, END = 24, 8, 12, 40, 39


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ReferenceBlock(nn.Module):
    def __init__(self, width: int, heads: int, quick: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.gelu = QuickGELU() if quick else nn.GELU()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["c_proj"](self.gelu(self.mlp["c_fc"](self.ln_2(x))))


class Blocks(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, quick: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([ReferenceBlock(width, heads, quick) for _ in range(depth)])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class ReferenceVision(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, embedding: int, quick: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((SIZE // PATCH) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks(width, heads, depth, quick)
        self.proj = nn.Parameter(torch.randn(width, embedding))

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Reference(nn.Module):
    """CLIP by open_clip's names, of torch's own layers; texts at full length, padding and all."""

    def __init__(self, *, quick: bool = False) -> None:
        super().__init__()
        self.visual = ReferenceVision(32, 4, 2, 16, quick)
        self.token_embedding = nn.Embedding(WORDS, 24)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, 24))
        self.transformer = Blocks(24, 2, 3, quick)
        self.ln_final = nn.LayerNorm(24)
        self.text_projection = nn.Parameter(torch.randn(24, 16))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))

    def encode_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.visual(pixels), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        x = self.token_embedding(ids) + self.positional_embedding
        x = self.ln_final(self.transformer(x, nn.Transformer.generate_square_subsequent_mask(LENGTH)))
        return F.normalize(x[torch.arange(len(ids)), ids.argmax(1)] @ self.text_projection, dim=-1)


def reference(*, quick: bool = False) -> Reference:
    torch.manual_seed(0)
    peer = Reference(quick=quick)
    with torch.no_grad():  # biases and norms off their plain starting values, so that a test sees them
        for parameter in peer.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return peer


def raw(*lengths: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, ids padded with zeros to the full length, and the mask of real ones up to the longest text."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (len(lengths), 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    ids = torch.randint(1, END, (len(lengths), LENGTH), generator=generator)
    of = torch.tensor(lengths)[:, None]
    ids = ids.masked_fill(torch.arange(LENGTH) >= of, 0).scatter(1, of - 1, END)
    return pixels, ids, torch.arange(max(lengths)) < of


def clip(weights: dict[str, Tensor], *, quick: bool = False) -> Model:
    return clip_from_weights(weights, parts={"dot": Dot()}, quick_gelu=quick, heads=(4, 2)).eval()


@pytest.mark.parametrize("quick", [False, True])
def test_the_vectors_are_those_of_the_reference(quick: bool):
    peer = reference(quick=quick)
    model = clip(peer.state_dict(), quick=quick)
    pixels, ids, mask = raw(3, 9, 1, 6)
    image = model.encode("image", {"pixels": pixels}).dense
    text = model.encode("text", {"ids": ids[:, :9], "mask": mask}).dense
    torch.testing.assert_close(image, peer.encode_image(pixels), rtol=0, atol=1e-5)  # float32 sums in another order
    torch.testing.assert_close(text, peer.encode_text(ids), rtol=0, atol=1e-5)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(4))
    assert model.parts["dot"].current_scale().item() == pytest.approx(peer.logit_scale.exp().item())  # type: ignore[operator]


def test_a_step_gives_the_gradients_of_the_reference():
    peer = reference()
    model = clip(peer.state_dict())
    pixels, ids, mask = raw(3, 9, 2, 6)
    scores = peer.logit_scale.exp() * peer.encode_image(pixels) @ peer.encode_text(ids).T
    loss = (F.cross_entropy(scores, torch.arange(4)) + F.cross_entropy(scores.T, torch.arange(4))) / 2
    loss.backward()
    rows = torch.arange(4)
    inputs = {"image": {"pixels": pixels}, "text": {"ids": ids[:, :9], "mask": mask}}
    batch = Batch(inputs, dict.fromkeys(inputs, rows[:, None]), dict.fromkeys(inputs, rows))
    assert step(model, InfoNCE(), batch).means["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
    theirs = clip({name: p.grad for name, p in peer.named_parameters() if p.grad is not None}).state_dict()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-3, atol=1e-5)  # float32 sums in another order


def test_it_is_saved_and_loaded_like_any_model(tmp_path: Path):
    model = clip(reference().state_dict())
    inputs = {"pixels": raw(3, 4)[0]}
    save(model, tmp_path / "model", reference={"image": inputs})
    assert torch.equal(load(tmp_path / "model").encode("image", inputs).dense, model.encode("image", inputs).dense)


def resnet(weights: dict[str, Tensor]) -> None:
    weights["visual.layer1.0.conv1.weight"] = weights.pop("visual.class_embedding")


def layer_scale(weights: dict[str, Tensor]) -> None:
    weights["visual.transformer.resblocks.0.ls_1.gamma"] = torch.ones(32)


def narrow_mlp(weights: dict[str, Tensor]) -> None:
    weights["transformer.resblocks.1.mlp.c_fc.weight"] = torch.ones(48, 24)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (resnet, r"missing \['visual.class_embedding'\].*unexpected \['visual.layer1.0.conv1.weight'\]"),
        (layer_scale, r"unexpected \['visual.transformer.resblocks.0.ls_1.gamma'\]"),
        (narrow_mlp, r"do not fit .*towers.text.blocks.1.up.weight: \(48, 24\)"),
        (dict.clear, r"missing \['ln_final.bias', 'ln_final.weight', 'logit_scale'"),
    ],
)
def test_other_architectures_are_refused_by_name(change: Callable, message: str):
    weights = dict(reference().state_dict())
    change(weights)
    with pytest.raises(ValueError, match=message):
        clip(weights)


def test_the_scale_wants_a_part():
    with pytest.raises(ValueError, match="one named 'dot' must be there"):
        clip_from_weights(reference().state_dict(), parts={})


def folder_of(peer: Reference, folder: Path, **vision: object) -> Path:
    """A folder as open_clip puts one on the hub, with a tokenizer of a few words."""
    save_file(peer.state_dict(), folder / "open_clip_model.safetensors")
    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "head_width": 8, "patch_size": PATCH, **vision},
        "text_cfg": {"context_length": LENGTH, "vocab_size": WORDS, "width": 24, "heads": 2, "layers": 3},
    }
    content = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    vocabulary = {"?": 0, "a": 1, "dog": 2, "runs": 3, "<start>": 38, "<end>": END}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 38), ("<end>", END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_folder_gives_the_whole_model_with_its_processors(tmp_path: Path):
    peer = reference(quick=True)
    model = clip_from_folder(folder_of(peer, tmp_path), parts={"dot": Dot()}).eval()
    inputs = model.processors["text"](["a dog runs", "dog " * 20])
    assert inputs["ids"].tolist() == [[38, 1, 2, 3, END] + [0] * 7, [38] + [2] * 10 + [END]]
    got = model.encode("text", inputs).dense
    torch.testing.assert_close(got, peer.encode_text(inputs["ids"]), rtol=0, atol=1e-5)  # float32 sums
    assert model.processors["image"].shape == (3, SIZE, SIZE)  # type: ignore[attr-defined]


def test_a_folder_of_another_architecture_or_of_none_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="is no folder of an open_clip model"):
        clip_from_folder(tmp_path, parts={"dot": Dot()})
    folder = folder_of(reference(), tmp_path, pool_type="avg")
    with pytest.raises(ValueError, match=r"asks for \['vision_cfg.pool_type'\]"):
        clip_from_folder(folder, parts={"dot": Dot()})


@pytest.mark.parametrize("quick", [False, True])
def test_the_vectors_are_those_of_open_clip(quick: bool):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra: pip install 'diptych[open-clip]'")
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=2, width=64, head_width=16, patch_size=PATCH, image_size=SIZE)
    text = open_clip.CLIPTextCfg(context_length=LENGTH, vocab_size=WORDS, width=32, heads=2, layers=2)
    peer = open_clip.CLIP(16, vision, text, quick_gelu=quick).eval()
    model = clip_from_weights(peer.state_dict(), parts={"dot": Dot()}, quick_gelu=quick, heads=(4, 2)).eval()
    pixels, ids, mask = raw(3, 9, 1, 6)
    normalised = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        image, text = peer.encode_image(normalised, normalize=True), peer.encode_text(ids, normalize=True)
        own = model.encode("text", {"ids": ids[:, :9], "mask": mask}).dense
        torch.testing.assert_close(model.encode("image", {"pixels": pixels}).dense, image, rtol=0, atol=1e-5)
        torch.testing.assert_close(own, text, rtol=0, atol=1e-5)  # float32 sums in another order
