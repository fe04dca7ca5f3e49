"""An opened timm tower says what timm says, of the pixels that timm's own transform makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from timm.models import save_for_hf
from torch import Tensor, nn

import diptych
from diptych.data.pairs import prepare
from diptych.data.sources import open_table
from diptych.models import load, save
from diptych.models.opening import timm as opening
from diptych.models.opening.timm import timm_image
from diptych.training.run import reference_inputs


def folder_of(folder: Path, name: str, *, said: dict[str, Any] | None = None, **options: Any) -> nn.Module:
    """A model with random weights, saved as timm saves for the hub; `said` changes its configuration."""
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    for module in model.modules():  # fresh statistics would hide whether they are read
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
    save_for_hf(model, str(folder), safe_serialization=True)
    if said:
        config = json.loads((folder / "config.json").read_text())
        config["pretrained_cfg"] |= said
        (folder / "config.json").write_text(json.dumps(config))
    return model


def normalised(pixels: Tensor, model: nn.Module) -> Tensor:
    config = resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet10t", {}),
        ("vit_tiny_patch16_224", {"img_size": 32}),
        ("convnext_atto", {"num_classes": 3}),
        ("mobilenetv3_small_050", {}),
        ("vit_base_patch16_siglip_224", {"embed_dim": 48, "num_heads": 3, "depth": 1, "img_size": 64}),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}),
    ],
)
def test_it_gives_timms_features(name: str, options: dict[str, Any], tmp_path: Path):
    peer = folder_of(tmp_path, name, **options)
    tower = timm_image(str(tmp_path))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *tower.processor.shape), dtype=np.uint8))  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = peer.forward_features(normalised(pixels, peer))  # type: ignore[operator]
        pooled = peer.forward_head(expected, pre_logits=True)  # type: ignore[operator]
        features = tower.encoder.eval()({"pixels": pixels})
    assert features.tokens is not None
    torch.testing.assert_close(features.pooled, pooled, rtol=1e-5, atol=1e-5)  # float32, normalised in another order
    if expected.dim() == 4:
        channels_first = getattr(peer, "output_fmt", "NCHW") == "NCHW"
        expected = expected.flatten(2).transpose(1, 2) if channels_first else expected.flatten(1, 2)
    torch.testing.assert_close(features.tokens, expected, rtol=1e-5, atol=1e-5)
    unit = tower.head(features)
    torch.testing.assert_close(unit, pooled / pooled.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "said",
    [
        {"crop_mode": "center", "crop_pct": 0.875, "interpolation": "bicubic"},
        {"crop_mode": "center", "crop_pct": 0.95, "interpolation": "bilinear"},
        {"crop_mode": "center", "crop_pct": 1.0, "interpolation": "bicubic"},
        {"crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bicubic"},
        {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "lanczos"},
    ],
)
def test_its_pixels_are_timms(said: dict[str, Any], tmp_path: Path):
    folder_of(tmp_path, "resnet10t", said={**said, "input_size": [3, 61, 61]})
    peer = timm.create_model(f"local-dir:{tmp_path}")
    config = resolve_model_data_config(peer)
    assert {key: config[key] for key in said} == said
    transform: Any = create_transform(**config, is_training=False)
    random = np.random.default_rng(1)
    sizes = [(83, 61), (61, 61), (40, 57), (301, 97), (97, 300), (62, 64), (69, 69), (33, 200)]
    images = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    got = timm_image(str(tmp_path)).processor(images)["pixels"]
    for image, pixels in zip(images, got, strict=True):
        difference = (normalised(pixels[None], peer)[0] - transform(image)).abs().amax()
        assert difference < 1 / 255 / max(config["std"]), image.size  # less than one grey level


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"crop_mode": "border"}, "crop_mode 'border'"),
        ({"input_size": [3, 64, 96]}, "64 x 96 pixels"),
        ({"crop_pct": 1.1}, "crop_pct 1.1"),
        ({"interpolation": "hamming"}, "interpolation 'hamming'"),
    ],
)
def test_pixels_that_cannot_be_made_are_refused(said: dict[str, Any], message: str, tmp_path: Path):
    folder_of(tmp_path, "resnet10t", said=said)
    with pytest.raises(ValueError, match=message):
        timm_image(str(tmp_path))


def test_a_registered_name_takes_its_own_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    peer = folder_of(tmp_path, "resnet10t")
    asked = []

    def hub(place: str, file: str, *, revision: str | None = None) -> Path:
        asked.append((place, file, revision))
        return tmp_path / file

    monkeypatch.setattr(opening, "find_file", hub)
    for name in ("resnet10t", "resnet10t.c3_in1k", "hf-hub:someone/something@abc"):
        weights = timm_image(name).encoder.backbone.state_dict()  # type: ignore[union-attr]
        assert weights and all(torch.equal(peer.state_dict()[key], value) for key, value in weights.items())
    one = ("timm/resnet10t.c3_in1k", "model.safetensors", None)
    assert asked == [one, one] + [("someone/something", file, "abc") for file in ("config.json", "model.safetensors")]


def test_what_is_no_model_of_timm_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match=r"near it: .*resnet10t"):
        timm_image("resnet10t.no_such_tag")
    with pytest.raises(ValueError, match=r"no config\.json"):
        timm_image(str(tmp_path))
    folder_of(tmp_path, "resnet10t")
    weights = tmp_path / "model.safetensors"
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model\.safetensors.*never opened"):
        timm_image(str(tmp_path))
    folder_of(tmp_path / "other", "resnet14t")
    (tmp_path / "other" / "model.safetensors").rename(weights)
    with pytest.raises(ValueError, match="do not fit"):
        timm_image(str(tmp_path))


def test_alone_it_is_a_model_that_round_trips(tmp_path: Path):
    folder_of(tmp_path / "timm", "vit_tiny_patch16_224", img_size=32, depth=1)
    model = diptych.load(f"timm:{tmp_path / 'timm'}")
    save(model, tmp_path / "model", reference=reference_inputs(model))
    pixels = {"pixels": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "model").encode("image", pixels).dense, model.encode("image", pixels).dense)


def test_a_model_of_one_tower_is_no_pair(tmp_path: Path, shapes: Path):
    folder_of(tmp_path, "mobilenetv3_small_050")
    with pytest.raises(ValueError, match="no text tower"):
        prepare(open_table(shapes), diptych.load(f"timm:{tmp_path}").processors)
