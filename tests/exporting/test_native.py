"""CLIPs of ours opened by open_clip and by transformers, as written by `diptych export`: the same vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from clips import LENGTH, SIZE, TEXTS, WORDS, clip, pictures, vectors
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import Projection, TextTransformer, VisionTransformer
from diptych.exporting.hf import write_hf
from diptych.exporting.native import CannotExport
from diptych.exporting.open_clip import write_open_clip
from diptych.models import Towers, clip_from_weights, clip_to_weights, dual_encoder
from diptych.scoring import Dot

SAME = {"rtol": 0, "atol": 1e-5}  # unit vectors in float32, summed in another order


def asked_of_open_clip(folder: Path, images: list, texts: list[str]) -> tuple[Tensor, Tensor, nn.Module]:
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    assert isinstance(model, open_clip.CLIP) and callable(preprocess)
    model.eval()
    with torch.no_grad():
        image = model.encode_image(torch.stack([torch.as_tensor(preprocess(one)) for one in images]), normalize=True)
        text = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True)
    return image, text, model


def asked_of_transformers(folder: Path, images: list, texts: list[str]) -> tuple[Tensor, Tensor, nn.Module]:
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        said = model(**processor(text=texts, images=images, padding=True, truncation=True, return_tensors="pt"))
    return said.image_embeds, said.text_embeds, model


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("write", "ask"), [(write_open_clip, asked_of_open_clip), (write_hf, asked_of_transformers)])
def test_the_library_gives_the_vectors_of_the_model(write: Callable, ask: Callable, quick: bool, tmp_path: Path):
    model = clip(quick=quick)
    assert write(model, tmp_path) in (
        [],
        ["where the centre of a picture lies between two pixels, the other one is taken"],
    )
    image, text, theirs = ask(tmp_path, pictures(), TEXTS)
    torch.testing.assert_close(image, vectors(model, "image", pictures()), **SAME)
    torch.testing.assert_close(text, vectors(model, "text", TEXTS), **SAME)
    scale = model.parts["dot"].current_scale().item()  # type: ignore[operator]
    assert theirs.logit_scale.exp().item() == pytest.approx(scale)


@pytest.mark.parametrize(("write", "ask"), [(write_open_clip, asked_of_open_clip), (write_hf, asked_of_transformers)])
def test_texts_are_pooled_at_an_end_token_that_is_not_the_highest(write: Callable, ask: Callable, tmp_path: Path):
    model = clip(end=4)
    write(model, tmp_path)
    torch.testing.assert_close(ask(tmp_path, pictures(), TEXTS)[1], vectors(model, "text", TEXTS), **SAME)


@pytest.mark.parametrize("resize", ["shortest", "squash", "pad"])
def test_open_clip_makes_the_same_pixels_of_pictures_of_other_sizes(resize: str, tmp_path: Path):
    model = clip(resize=resize)
    write_open_clip(model, tmp_path)
    wide = pictures(size=(61, 40))
    image, _, _ = asked_of_open_clip(tmp_path, wide, TEXTS)
    torch.testing.assert_close(image, vectors(model, "image", wide), **SAME)


def test_it_can_be_exported_after_training(tmp_path: Path):
    model = clip().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        image, text = (model.encode(view, model.processors[view](v)).dense for view, v in values().items())
        F.cross_entropy(model.parts["dot"].current_scale() * image @ text.T, torch.arange(3)).backward()  # type: ignore[operator]
        optimizer.step()
    write_open_clip(model.eval(), tmp_path)
    image, text, _ = asked_of_open_clip(tmp_path, pictures(), TEXTS[:3])
    torch.testing.assert_close(image, vectors(model, "image", pictures()), **SAME)
    assert not torch.allclose(image, vectors(clip(), "image", pictures()), atol=1e-2)  # it did train


def values() -> dict[str, list]:
    return {"image": pictures(), "text": TEXTS[:3]}


def test_weights_to_open_clip_and_back_are_the_same():
    model = clip()
    again = clip_from_weights(clip_to_weights(model), parts={"dot": Dot()}, heads=(4, 2))
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=1e-6, atol=0)  # log(exp(scale)) rounds


def test_the_scale_that_is_written_is_the_one_in_force():
    model = clip()
    with torch.no_grad():
        model.parts["dot"].log_scale.fill_(9.0)  # type: ignore[union-attr]
    assert clip_to_weights(model)["logit_scale"].exp().item() == pytest.approx(100)  # Dot's max_scale


def test_a_bias_goes_to_open_clip_but_not_to_transformers(tmp_path: Path):
    model = clip(dot=Dot(bias=-3.0))
    write_open_clip(model, tmp_path)
    _, _, theirs = asked_of_open_clip(tmp_path, pictures(), TEXTS)
    assert theirs.state_dict()["logit_bias"].item() == pytest.approx(-3)
    with pytest.raises(CannotExport, match=r"the scorer has a bias.*--to open_clip, onnx and safetensors"):
        write_hf(model, tmp_path)


def test_without_a_tokenizer_texts_are_pooled_at_the_highest_id(tmp_path: Path):
    model = clip(words=False)
    (note,) = [note for note in write_hf(model, tmp_path) if "token" in note]
    assert "no tokenizer of its own" in note
    from transformers import CLIPModel

    ids = torch.tensor([[3, 9, WORDS - 1, 0, 0], [1, 2, 3, 4, WORDS - 1]])
    with torch.no_grad():
        theirs = F.normalize(CLIPModel.from_pretrained(tmp_path).get_text_features(ids)["pooler_output"], dim=-1)  # type: ignore[call-overload]
        mask = torch.arange(5) < torch.tensor([[3], [5]])
        torch.testing.assert_close(theirs, model.encode("text", {"ids": ids, "mask": mask}).dense, **SAME)


def with_image(**options: object) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        model.towers["image"] = VisionTransformer(SIZE, width=32, depth=1, heads=4, patch=8, **options)  # type: ignore[arg-type]

    return change


def with_text(model: Model) -> None:
    model.towers["text"] = TextTransformer(WORDS, width=24, depth=1, heads=2, max_length=LENGTH)


def with_head(model: Model) -> None:
    model.heads["text"]["dense"] = Projection(24, 16)  # type: ignore[index, operator]


def without_end(model: Model) -> None:
    words = model.processors["text"]
    assert isinstance(words, TextProcessor) and words.definition is not None
    model.processors["text"] = TextProcessor(
        WORDS, definition=json.dumps({**json.loads(words.definition), "post_processor": None})
    )


def other_small(model: Model) -> None:
    small = dual_encoder(Towers(image_size=SIZE, vocab_size=300, text_depth=1), parts={"dot": Dot()})
    model.towers = small.towers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_small, "the image tower is a ConvNet, not a VisionTransformer"),
        (with_image(pooling="mean", patch_bias=False), "the image tower's pooling is 'mean', not the class token"),
        (with_image(), "the image tower has patch_bias=True"),
        (with_text, "the text tower has causal=False and pooling 'mean', not True and 'last'"),
        (with_head, "the text tower's projection has layer_norm=True, not a linear map alone"),
        (without_end, "the text processor does not end every text with the same token"),
    ],
)
@pytest.mark.parametrize("write", [write_open_clip, write_hf])
def test_what_cannot_be_said_is_named(change: Callable, message: str, write: Callable, tmp_path: Path):
    model = clip()
    change(model)
    with pytest.raises(CannotExport, match=message + r".*--to onnx and safetensors"):
        write(model, tmp_path)


def test_what_pixels_cannot_be_is_named(tmp_path: Path):
    model = clip(resize="pad")
    with pytest.raises(CannotExport, match=r"images are padded to a square \(resize='pad'\)"):
        write_hf(model, tmp_path)
    model.processors["image"] = ImageProcessor(SIZE, resize="shortest", edge=32)
    with pytest.raises(CannotExport, match="images are resized to 32 and cut to 24"):
        write_open_clip(model, tmp_path)
    model.processors["image"] = ImageProcessor(SIZE, interpolation="lanczos")
    with pytest.raises(CannotExport, match="images are resized by 'lanczos'"):
        write_open_clip(model, tmp_path)


def test_what_only_one_of_them_can_say_is_sent_to_it(tmp_path: Path):
    model = clip()
    with_image(patch_bias=False)(model)  # no LayerNorm after the embedding
    with pytest.raises(CannotExport, match=r"no LayerNorm after its embedding.*--to open_clip, onnx"):
        write_hf(model, tmp_path)
    write_open_clip(model, tmp_path)
    image, _, _ = asked_of_open_clip(tmp_path, pictures(), TEXTS)
    torch.testing.assert_close(image, vectors(model, "image", pictures()), **SAME)
    model = clip()
    with_image(patch_bias=False, embedding_norm=True, activation="quick_gelu", eps=1e-3)(model)
    with pytest.raises(CannotExport, match=r"activation is 'quick_gelu', the text tower's 'gelu'.*--to hf, onnx"):
        write_open_clip(model, tmp_path)
    write_hf(model, tmp_path / "hf")
    image, _, _ = asked_of_transformers(tmp_path / "hf", pictures(), TEXTS)
    torch.testing.assert_close(image, vectors(model, "image", pictures()), **SAME)
