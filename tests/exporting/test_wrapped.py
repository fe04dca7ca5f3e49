"""Opened models of open_clip and transformers, trained further, go back: their own library says what the model says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from clips import clip, pictures, text_alone, vectors
from hf_checkpoints import FAMILIES as HF
from hf_checkpoints import saved
from test_hf import SIDE, TEXTS, images_of_peer, said_by_peer, words_of_peer
from test_open_clip import TEXTS as NASTY
from test_open_clip import folder_of
from torch.nn import functional as F

import diptych
from diptych.core.model import Model
from diptych.data.processors import TextProcessor
from diptych.encoders import HubText, Projection, TimmImage, UnitLength
from diptych.exporting.hf import write_hf
from diptych.exporting.native import CannotExport
from diptych.exporting.onnx import write_onnx
from diptych.exporting.open_clip import write_open_clip
from diptych.scoring import Dot

SAME: dict[str, Any] = {"rtol": 0, "atol": 1e-5}  # unit vectors in float32, summed in another order
OPEN_CLIP = ("vit", "clipa", "worldwide", "siglip", "coca", "convnext", "resnet", "bert")


def changed(model: Model) -> Model:
    """As after some training: no weight is what it was."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("family", sorted(HF))
def test_a_model_of_transformers_goes_back_to_it(family: str, tmp_path: Path):
    folder = saved(tmp_path / "from" / family, HF[family]())
    opened = diptych.load(f"hf:{folder}")
    before = vectors(opened, "text", TEXTS)
    model, out = changed(opened), tmp_path / "to" / family
    out.mkdir(parents=True)
    notes = write_hf(model, out)
    made = json.loads((out / "config.json").read_text())
    assert made["model_type"] == json.loads((folder / "config.json").read_text())["model_type"]
    raw = pictures(size=(SIDE[family], SIDE[family]))
    pixels = model.processors["image"](raw)
    # Already of their size, so that both see the same pixels.
    images = images_of_peer(out, list(pixels["pixels"]), do_resize=False, do_center_crop=False)
    words = words_of_peer(out, TEXTS)
    image, text, _, _, scores = said_by_peer(out, words, images)
    with torch.no_grad():
        own = [model.encode("image", pixels), model.encode("text", model.processors["text"](TEXTS))]
    torch.testing.assert_close(F.normalize(image, dim=-1), own[0].dense, **SAME)
    torch.testing.assert_close(F.normalize(text, dim=-1), own[1].dense, **SAME)
    assert (own[1].dense - before).abs().max() > 1e-3  # it is not the checkpoint that it came from
    if family == "blip":
        assert any("the scores' scale" in note and "has no place" in note for note in notes)
    else:
        scale = float(model.parts["dot"].current_scale().detach())  # type: ignore[operator]
        torch.testing.assert_close(scores, model.parts["dot"](*own).detach(), rtol=1e-5, atol=1e-5 * scale)
    assert torch.equal(words["input_ids"], words_of_peer(folder, TEXTS)["input_ids"])
    again = diptych.load(f"hf:{out}")
    assert torch.equal(vectors(again, "image", raw), own[0].dense)
    assert torch.equal(vectors(again, "text", TEXTS), own[1].dense)


@pytest.mark.parametrize("family", OPEN_CLIP)
def test_a_model_of_open_clip_goes_back_to_it(family: str, tmp_path: Path):
    opened = diptych.load(f"open_clip:{folder_of(family, tmp_path)[0]}")
    before = vectors(opened, "text", NASTY)
    model, out = changed(opened), tmp_path / "out"
    out.mkdir()
    write_open_clip(model, out)
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    theirs.eval()
    side = model.processors["image"].shape[1]  # type: ignore[attr-defined]
    images, ask = pictures(size=(side, side)), getattr
    with torch.no_grad():
        pixels = torch.stack([torch.as_tensor(preprocess(one)) for one in images])  # type: ignore[operator]
        image = ask(theirs, "encode_image")(pixels, normalize=True)
        text = ask(theirs, "encode_text")(open_clip.get_tokenizer(f"local-dir:{out}")(NASTY), normalize=True)
        torch.testing.assert_close(image, vectors(model, "image", images), **SAME)
        torch.testing.assert_close(text, vectors(model, "text", NASTY), **SAME)
    assert (text - before).abs().max() > 1e-3  # it is not the checkpoint that it came from
    dot: Any = model.parts["dot"]
    assert theirs.state_dict()["logit_scale"].exp().item() == pytest.approx(dot.current_scale().item())
    if dot.offset is not None:
        assert theirs.state_dict()["logit_bias"].item() == pytest.approx(dot.offset.item())
    again = diptych.load(f"open_clip:{out}")
    torch.testing.assert_close(vectors(again, "image", images), vectors(model, "image", images), **SAME)
    torch.testing.assert_close(vectors(again, "text", NASTY), vectors(model, "text", NASTY), **SAME)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """open_clip's plain CLIP, opened as towers of ours, with CLIP's own vocabulary."""
    return diptych.load(f"open_clip:{folder_of('plain', tmp_path_factory.mktemp('plain'))[0]}")


def test_an_opened_plain_clip_goes_to_open_clip(native: Model, tmp_path: Path):
    write_open_clip(native, tmp_path)
    again = diptych.load(f"open_clip:{tmp_path}")
    assert type(again.towers["image"]) is type(native.towers["image"])  # ours again
    for view, values in (("image", pictures()), ("text", NASTY)):
        torch.testing.assert_close(vectors(again, view, values), vectors(native, view, values), **SAME)


def test_an_opened_plain_clip_goes_to_transformers_with_its_vocabulary(native: Model, tmp_path: Path):
    (note,) = [note for note in write_hf(native, tmp_path) if "cleaned" in note]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    plain = ["", "a dog", "A Dog's day, isn't it? 42!", "café 🐶 日本語", "word " * 40]
    theirs = transformers.CLIPModel.from_pretrained(tmp_path)
    asked: Any = tokenizer(plain, padding=True, truncation=True, return_tensors="pt")
    assert [row[mask.bool()].tolist() for row, mask in zip(asked.input_ids, asked.attention_mask, strict=True)] == [
        row.tolist()
        for row in native.processors["text"].encode(plain)[0]  # type: ignore[attr-defined]
    ]
    with torch.no_grad():
        text: Any = theirs.get_text_features(**asked)
    torch.testing.assert_close(F.normalize(text.pooler_output, dim=-1), vectors(native, "text", plain), **SAME)
    assert "clean='lower'" in note


def test_opened_models_go_to_onnx(tmp_path: Path):
    import onnxruntime

    model = text_alone(diptych.load(f"open_clip:{folder_of('worldwide', tmp_path)[0]}"))
    (tmp_path / "out").mkdir()
    write_onnx(model, tmp_path / "out")
    inputs = model.processors["text"](["a", *NASTY[:6]])
    got = onnxruntime.InferenceSession(tmp_path / "out" / "text.onnx").run(
        None, {k: x.numpy() for k, x in inputs.items()}
    )
    torch.testing.assert_close(torch.as_tensor(got[0]), vectors(model, "text", ["a", *NASTY[:6]]), **SAME)


def pair(head: Projection) -> Model:
    """A timm backbone beside a text model of transformers, projected by `head`."""
    config = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = HubText({**config, "intermediate_size": 16, "vocab_size": 300})
    image = TimmImage("test_vit")
    first = Projection(image.width, 8, layer_norm=False)
    processors = {"image": clip().processors["image"], "text": TextProcessor(300).fit(TEXTS)}
    return Model(
        {"image": image, "text": text}, {"image": {"dense": first}, "text": {"dense": head}}, {"dot": Dot()}, processors
    )


def with_layer_norm(model: Model) -> None:
    model.heads["text"]["dense"] = Projection(16, 20)  # type: ignore[index, operator]


def with_unit_length(model: Model) -> None:
    model.heads["text"]["dense"] = UnitLength(20)  # type: ignore[index, operator]


def with_mean(model: Model) -> None:
    model.towers["text"].pooling = "mean"  # type: ignore[assignment]


def with_bias(model: Model) -> None:
    model.parts["dot"] = Dot(bias=-1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_layer_norm, "the text tower's projection has layer_norm=True"),
        (with_unit_length, "the text tower's head is a UnitLength, and there it is a linear map"),
        (with_mean, "a clip_vision_model pooled by 'own' and a clip_text_model pooled by 'mean'"),
        (with_bias, "the scorer has a bias"),
    ],
)
def test_what_transformers_cannot_say_of_its_own_towers_is_named(change: Callable, message: str, tmp_path: Path):
    model = diptych.load(f"hf:{saved(tmp_path / 'clip', HF['clip']())}")
    change(model)
    with pytest.raises(CannotExport, match=message):
        write_hf(model, tmp_path)


def test_towers_of_other_libraries_are_sent_to_their_own(tmp_path: Path):
    model = diptych.load(f"hf:{saved(tmp_path / 'clip', HF['clip']())}")
    with pytest.raises(CannotExport, match=r"image tower is a HubImage.*--to hf, onnx and safetensors"):
        write_open_clip(model, tmp_path)
    model = diptych.load(f"open_clip:{folder_of('vit', tmp_path)[0]}")
    with pytest.raises(CannotExport, match=r"image tower is a OpenClipViT.*--to open_clip, onnx and safetensors"):
        write_hf(model, tmp_path)
    model.heads["text"]["dense"] = Projection(12, 12)  # type: ignore[index, operator]
    with pytest.raises(CannotExport, match="head 'dense' of the text tower is a Projection, not UnitLength"):
        write_open_clip(model, tmp_path)
    for write in (write_hf, write_open_clip):
        with pytest.raises(CannotExport, match=r"image tower is a TimmImage.*--to onnx and safetensors"):
            write(pair(Projection(16, 8, layer_norm=False)), tmp_path)
