"""One tower of `transformers` alone, texts that are too long, and what cannot be opened as it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hf_checkpoints import FAMILIES, PATCH, SIZE, TEXT, VISION, bert_tokenizer, clip_images, saved, square, words
from nasty import NASTY
from test_hf import CLOSE, TEXTS, grey_levels_off, images_of_peer, photographs
from torch.nn import functional as F

import diptych
from diptych.encoders import HubText
from diptych.models import checkpoint

hf: Any = transformers
LONG = "two dogs running on the grass and a cat " * 9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's checkpoint, made once; not to be written to."""
    root = tmp_path_factory.mktemp("hf")
    return lambda name: root / name if (root / name).exists() else saved(root / name, FAMILIES[name]())


def vit(folder: Path) -> Path:
    """A classifier, whose pooling layer was never trained."""
    return saved(folder, (hf.ViTForImageClassification(hf.ViTConfig(**VISION)), square(hf.ViTImageProcessor)))


def dino(folder: Path) -> Path:
    config = hf.Dinov2WithRegistersConfig(**{**VISION, "image_size": 48}, num_register_tokens=2, mlp_ratio=2)
    return saved(folder, (hf.Dinov2WithRegistersModel(config), clip_images()))


def bert(folder: Path) -> Path:
    tokenizer = bert_tokenizer()
    return saved(folder, (hf.BertModel(hf.BertConfig(**words(tokenizer))), tokenizer))


@pytest.mark.parametrize("image", [vit, dino])
def test_two_towers_that_never_met_make_a_pair(image: Callable[[Path], Path], tmp_path: Path):
    seen, read = image(tmp_path / "image"), bert(tmp_path / "text")
    model: Any = diptych.load(f"hf:{seen}+hf:{read}")
    pixels, inputs = model.processors["image"](photographs([(SIZE, SIZE)] * 2)), model.processors["text"](TEXTS)
    pictures = images_of_peer(seen, list(pixels["pixels"]), do_resize=False, do_center_crop=False)
    asked = hf.AutoTokenizer.from_pretrained(read)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        a, b = model.features("image", pixels), model.features("text", inputs)
        theirs = hf.AutoModel.from_pretrained(seen)(**pictures).last_hidden_state
        hidden = hf.AutoModel.from_pretrained(read)(**asked).last_hidden_state
    weight = asked["attention_mask"][..., None]
    torch.testing.assert_close(a.pooled, theirs[:, 0], **CLOSE)
    torch.testing.assert_close(a.tokens, theirs[:, -16:], **CLOSE)  # after the class and the registers
    assert a.grid == (SIZE // PATCH, SIZE // PATCH)
    torch.testing.assert_close(b.pooled, (hidden * weight).sum(1) / weight.sum(1), **CLOSE)
    checkpoint.save(model, tmp_path / "ours", reference={"image": pixels, "text": inputs})
    assert checkpoint.fingerprint(diptych.load(tmp_path / "ours")) == checkpoint.fingerprint(model)
    assert str(tmp_path) not in json.dumps(checkpoint.describe_model(model))  # where it lay is not what it is


def test_a_tower_of_a_model_with_two_is_that_tower(made: Callable[[str], Path]):
    whole: Any = diptych.load(f"hf:{made('clip')}")
    pair: Any = diptych.load(f"hf:{made('clip')}+hf:{made('siglip')}")
    pixels = whole.processors["image"](photographs())
    assert torch.equal(pair.features("image", pixels).pooled, whole.features("image", pixels).pooled)
    inputs = pair.processors["text"](TEXTS)
    assert inputs["ids"].shape[1] == 24  # SigLIP's texts are always full
    siglip = diptych.load(f"hf:{made('siglip')}")
    assert torch.equal(pair.features("text", inputs).pooled, siglip.features("text", inputs).pooled)


def test_towers_saved_alone_are_those_of_the_whole(made: Callable[[str], Path], tmp_path: Path):
    for name, cls in (("clip", hf.CLIPModel), ("siglip", hf.SiglipModel)):
        folder, whole = tmp_path / name, diptych.load(f"hf:{made(name)}")
        shutil.copytree(made(name), folder / "text")
        peer = cls.from_pretrained(made(name))
        peer.vision_model.save_pretrained(folder / "image")
        peer.text_model.save_pretrained(folder / "text")
        shutil.copy(made(name) / "preprocessor_config.json", folder / "image")
        pair: Any = diptych.load(f"hf:{folder / 'image'}+hf:{folder / 'text'}")
        for view, values in (("image", photographs()), ("text", TEXTS)):
            inputs = pair.processors[view](values)
            torch.testing.assert_close(
                pair.features(view, inputs).pooled, whole.features(view, inputs).pooled, rtol=0, atol=0
            )


def test_a_processor_saved_in_one_file_is_read_too(made: Callable[[str], Path], tmp_path: Path):
    folder = tmp_path / "clip"
    shutil.copytree(made("clip"), folder)
    (folder / "preprocessor_config.json").unlink()
    images = hf.AutoImageProcessor.from_pretrained(made("clip"))
    hf.CLIPProcessor(images, hf.AutoTokenizer.from_pretrained(made("clip"))).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    assert checkpoint.fingerprint(diptych.load(f"hf:{folder}")) == checkpoint.fingerprint(
        diptych.load(f"hf:{made('clip')}")
    )


@pytest.mark.parametrize(("mode", "place"), [("cls_token", 0), ("lasttoken", -1)])
def test_a_text_model_pools_as_its_folder_says(mode: str, place: int, made: Callable[[str], Path], tmp_path: Path):
    folder = bert(tmp_path / "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    model = diptych.load(f"hf:{made('clip')}+hf:{folder}")
    for text in TEXTS:
        features = model.features("text", model.processors["text"]([text]))
        assert features.tokens is not None and torch.equal(features.pooled[0], features.tokens[0, place])


def test_a_clip_image_tower_and_another_text_tower_are_a_dual_encoder(tmp_path: Path):
    tokenizer = bert_tokenizer()
    vision = hf.CLIPVisionConfig(**VISION)
    text = hf.DistilBertConfig(vocab_size=len(tokenizer), dim=16, hidden_dim=32, n_layers=2, n_heads=2)
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=20)
    folder = saved(tmp_path / "dual", (hf.VisionTextDualEncoderModel(config), tokenizer, clip_images()))
    with pytest.raises(ValueError, match="DistilBertModel has no pooler_output"):
        diptych.load(f"hf:{folder}")
    roberta = hf.RobertaConfig(**words(tokenizer, pad_token_id=0))
    config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(vision, roberta, projection_dim=20)
    peer = hf.VisionTextDualEncoderModel(config).eval()
    model: Any = diptych.load(f"hf:{saved(tmp_path / 'other', (peer, tokenizer, clip_images()))}")
    pixels, inputs = model.processors["image"](photographs()), model.processors["text"](TEXTS)
    with torch.no_grad():
        scores = peer(
            pixel_values=model.towers["image"].normalise(pixels["pixels"]),
            input_ids=inputs["ids"],
            attention_mask=inputs["mask"].long(),
        ).logits_per_image
        ours = model.parts["dot"](model.encode("image", pixels), model.encode("text", inputs))
    torch.testing.assert_close(ours, scores, rtol=1e-5, atol=1e-4)  # float32, times a scale of ten


def test_long_texts_are_cut_as_the_peer_cuts_and_counted(made: Callable[[str], Path]):
    for name in ("clip", "altclip", "siglip"):
        model: Any = diptych.load(f"hf:{made(name)}", max_length=12)
        tokenizer = hf.AutoTokenizer.from_pretrained(made(name))
        theirs = tokenizer([*TEXTS, LONG], padding=True, truncation=True, max_length=12, return_tensors="pt")
        ids = model.processors["text"]([*TEXTS, LONG])["ids"]
        assert torch.equal(ids, theirs["input_ids"])
        assert model.processors["text"].encode([LONG, "a"])[1].tolist() == [True, False]


def test_long_texts_can_be_an_error(made: Callable[[str], Path]):
    model = diptych.load(f"hf:{made('clip')}", too_long="error")
    model.processors["text"](TEXTS)
    with pytest.raises(ValueError, match="1 of 2 texts have more than 40 tokens"):
        model.processors["text"](["a", LONG])


@pytest.mark.parametrize("name", ["clip", "clipseg", "altclip", "chinese_clip", "align", "blip"])
def test_stretched_towers_read_short_texts_as_before_and_long_ones_whole(
    name: str, made: Callable[[str], Path], tmp_path: Path
):
    short, stretched = diptych.load(f"hf:{made(name)}"), diptych.load(f"hf:{made(name)}", max_length=200)
    for text in TEXTS:
        inputs = stretched.processors["text"]([text])
        assert inputs["ids"].shape[1] <= 20  # the places that stay
        a, b = short.encode("text", inputs).dense, stretched.encode("text", inputs).dense
        torch.testing.assert_close(a, b, **CLOSE)
    ends = [LONG + "a photo", LONG + "1234 isn't it fine"]
    inputs = stretched.processors["text"](ends)
    assert 40 < inputs["ids"].shape[1] < 200
    vectors = stretched.encode("text", inputs).dense
    assert float((vectors[0] - vectors[1]).abs().max()) > 1e-4  # what comes after the fortieth token is read
    checkpoint.save(stretched, tmp_path / "ours", reference={"text": inputs})
    assert torch.equal(diptych.load(tmp_path / "ours").encode("text", inputs).dense, vectors)


@pytest.mark.parametrize(("name", "before"), [("clip", 0), ("altclip", 2)])  # RoBERTa's places begin after its padding
def test_the_first_twenty_places_stay_and_the_others_are_mixed(name: str, before: int, made: Callable[[str], Path]):
    short: Any = diptych.load(f"hf:{made(name)}")
    long: Any = diptych.load(f"hf:{made(name)}", max_length=60)
    key = next(key for key in short.towers["text"].state_dict() if "position_embedding" in key)
    old, new = short.towers["text"].state_dict()[key], long.towers["text"].state_dict()[key]
    assert len(old) == 40 + before and len(new) == 60 + before
    kept = 20 + before
    assert torch.equal(new[:kept], old[:kept])
    torch.testing.assert_close(new[kept : kept + 2], torch.stack([old[kept], (old[kept] + old[kept + 1]) / 2]))
    inputs = long.processors["text"]([LONG])
    assert inputs["ids"].shape[1] == 60 and long.encode("text", inputs).dense.isfinite().all()


def test_places_that_are_not_learned_are_not_stretched(made: Callable[[str], Path], tmp_path: Path):
    tokenizer = bert_tokenizer()
    config = hf.ModernBertConfig(**words(tokenizer, pad_token_id=0, cls_token_id=2, sep_token_id=3))
    folder = saved(tmp_path / "rotary", (hf.ModernBertModel(config), tokenizer))
    image = made("clip")
    assert diptych.load(f"hf:{image}+hf:{folder}").processors["text"].max_length == 40  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="up to 40 tokens, and max_length is 41: its places are not learned"):
        diptych.load(f"hf:{image}+hf:{folder}", max_length=41)


def test_a_python_tokenizer_gives_way_to_the_tokenizer_json(made: Callable[[str], Path], tmp_path: Path):
    folder = tmp_path / "siglip"
    shutil.copytree(made("siglip"), folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, "tokenizer_class": "SiglipTokenizer"}))
    ours, as_saved = diptych.load(f"hf:{folder}"), diptych.load(f"hf:{made('siglip')}")
    assert torch.equal(ours.processors["text"](NASTY)["ids"], as_saved.processors["text"](NASTY)["ids"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"do_resize": False}, "do_resize False"),
        ({"do_center_crop": False}, "do_center_crop False"),
        ({"crop_size": {"height": 32, "width": 24}}, "crop_size .* a square of at most 36"),
        ({"crop_size": {"height": 48, "width": 48}}, "crop_size .* a square of at most 36"),
        ({"size": {"shortest_edge": 36, "longest_edge": 50}}, "size .* a shortest_edge, or"),
        ({"size": {"height": 36, "width": 40}}, "size .* a shortest_edge, or"),
        ({"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}, r"cannot be run .*\(40\*40\)"),
        ({"resample": 4}, "resample 4"),
        ({"resample": 0}, "resample 0"),
        ({"do_pad": True}, "do_pad True"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "image_processor_type 'ConvNextImageProcessor"),
    ],
)
def test_preprocessing_that_cannot_be_exact_is_named(
    changed: dict[str, Any], message: str, made: Callable[[str], Path], tmp_path: Path
):
    folder = tmp_path / "clip"
    shutil.copytree(made("clip"), folder)
    said = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, **changed}))
    with pytest.raises(ValueError, match=message):
        diptych.load(f"hf:{folder}")


@pytest.mark.parametrize(
    "changed",
    [
        {"do_rescale": False},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"resample": 1},
        {"resample": 2},
        {"size": {"height": 40, "width": 40}},
        {"size": 36, "crop_size": 32},
    ],
)
def test_fields_of_the_preprocessing_mean_what_the_peer_takes_them_for(
    changed: dict[str, Any], made: Callable[[str], Path], tmp_path: Path
):
    folder = tmp_path / "clip"
    shutil.copytree(made("clip"), folder)
    said = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, **changed}))
    model: Any = diptych.load(f"hf:{folder}")
    for picture in photographs():
        assert grey_levels_off(folder, model, picture, backend="pil") < 1e-3
        # torchvision rounds between its two passes in another order; Lanczos's lobes can make that a level more
        assert grey_levels_off(folder, model, picture) < (2.001 if changed.get("resample") == 1 else 1.001)


def test_what_is_missing_is_named(made: Callable[[str], Path], tmp_path: Path):
    def without(*files: str, **config: Any) -> str:
        folder = tmp_path / f"{'-'.join(files)}{len(config)}"
        shutil.copytree(made("clip"), folder)
        for file in files:
            (folder / file).unlink()
        said = json.loads((folder / "config.json").read_text()) if "config.json" not in files else {}
        if config:
            (folder / "config.json").write_text(json.dumps({**said, **config}))
        return f"hf:{folder}"

    with pytest.raises(ValueError, match="there is no folder '/no/such/folder'"):
        diptych.load("hf:/no/such/folder")
    with pytest.raises(ValueError, match=r"cannot open hf:.*supported are clip, clipseg"):
        diptych.load(without("config.json"))
    with pytest.raises(ValueError, match="model_type 'bert'; models with two towers are of clip, clipseg, siglip"):
        diptych.load(f"hf:{bert(tmp_path / 'bert')}")
    with pytest.raises(ValueError, match=r"has no preprocessor_config\.json"):
        diptych.load(without("preprocessor_config.json"))
    with pytest.raises(ValueError, match=r"has no tokenizer\.json"):
        diptych.load(without("tokenizer.json"))
    with pytest.raises(ValueError, match="is a BlipForConditionalGeneration, which has no embeddings"):
        diptych.load(without(model_type="blip", architectures=["BlipForConditionalGeneration"]))
    with pytest.raises(ValueError, match="cannot open the weights"):
        diptych.load(without("model.safetensors"))
    pickled = without("model.safetensors", "tokenizer.json")
    torch.save({}, Path(pickled.removeprefix("hf:")) / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"in a pickle \(pytorch_model.bin\), which is never opened"):
        diptych.load(pickled)
    t5 = hf.T5Config(vocab_size=20, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8)
    saved(tmp_path / "t5", (hf.T5Model(t5),))
    with pytest.raises(ValueError, match="model_type 't5', which is no encoder of texts"):
        diptych.load(f"hf:{made('clip')}+hf:{tmp_path / 't5'}")
    with pytest.raises(ValueError, match="is no encoder of images"):
        diptych.load(f"hf:{tmp_path / 'bert'}+hf:{tmp_path / 'bert'}")


def test_missing_weights_are_never_random(made: Callable[[str], Path], tmp_path: Path):
    from safetensors.torch import load_file, save_file

    for name in ("visual_projection.weight", "text_model.final_layer_norm.weight", "logit_scale"):
        folder = tmp_path / name
        shutil.copytree(made("clip"), folder)
        weights = load_file(folder / "model.safetensors")
        del weights[name]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match="has no weights for"):
            diptych.load(f"hf:{folder}")


@pytest.mark.parametrize("pooling", ["own", "mean", "first", "last"])
def test_texts_padded_on_the_left_are_pooled_where_they_are(pooling: Any):
    torch.manual_seed(0)
    config = {**hf.BertConfig(vocab_size=50, max_position_embeddings=12, **TEXT).to_dict(), "model_type": "bert"}
    encoder = HubText(config, pooling=pooling, padding="left").eval()
    ids = torch.randint(3, 50, (2, 6))
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
    shifted = torch.cat([ids[:1, 4:], ids[:1, :4]], 1)
    said = encoder.backbone(input_ids=shifted, attention_mask=mask[:1].flip(1).long())
    hidden = said.last_hidden_state[0]
    expected = {"own": said.pooler_output[0], "mean": hidden[2:].mean(0), "first": hidden[2], "last": hidden[5]}[
        pooling
    ]
    features = encoder({"ids": ids, "mask": mask})
    torch.testing.assert_close(features.pooled[0], expected, **CLOSE)
    assert features.mask is not None and features.mask[0].tolist() == [False, False, True, True, True, True]
    assert F.cosine_similarity(features.pooled[0], features.pooled[1], dim=0) < 0.999
