"""Models of `transformers` by name: their own library's pixels, tokens, vectors and scores, also after a round trip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hf_checkpoints import FAMILIES, PATCH, VISION, saved, words
from nasty import NASTY
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

import diptych
from diptych.encoders import HubText, TextTransformer, VisionTransformer
from diptych.models import checkpoint

SIZES = [(301, 227), (224, 500), (97, 64), (32, 32), (41, 200)]
TEXTS = ["a photo of a cat", "two dogs", "a 🐶 on the grass", "1234567890 isn't it"]
SIDE = dict.fromkeys(FAMILIES, 32) | {"clipseg": 48}
CLOSE: Any = {"rtol": 0, "atol": 1e-5}
"""float32 sums of a tower's width, in another order."""


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("hf") / request.param, FAMILIES[request.param]())


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return diptych.load(f"hf:{folder}", wrapped=True)


def photographs(sizes: Sequence[tuple[int, ...]] = SIZES) -> list[Image.Image]:
    """Smoothed noise: edges in every direction, and no flat parts that hide a shift."""
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
        for width, height in sizes
    ]


def peer_of(folder: Path) -> Any:
    kind = {"blip": "BlipForImageTextRetrieval", "blip_model": "BlipModel"}.get(folder.name, "AutoModel")
    return getattr(transformers, kind).from_pretrained(folder).eval()


def words_of_peer(folder: Path, texts: list[str]) -> Any:
    """Padded as the family's processor does."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if folder.name.startswith("siglip") else True
    return tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")


def images_of_peer(folder: Path, pictures: list[Any], **changed: Any) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt", **changed)


def said_by_peer(folder: Path, words: Any, images: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Image and text embeddings, last hidden states of both, and the scores."""
    peer = peer_of(folder)
    with torch.no_grad():
        if folder.name == "blip":  # it has no get_image_features; its scores are asked for by name
            seen = peer.vision_model(images["pixel_values"]).last_hidden_state
            read = peer.text_encoder(words["input_ids"], words["attention_mask"]).last_hidden_state
            image, text = peer.vision_proj(seen[:, 0]), peer.text_proj(read[:, 0])
            asked = {name: words[name] for name in ("input_ids", "attention_mask")}
            return image, text, seen, read, peer(**asked, **images, use_itm_head=False).itm_score
        if folder.name == "blip_model":
            words.pop("token_type_ids", None)
        seen, read = peer.get_image_features(**images), peer.get_text_features(**words)
        scores = peer(**words, **images).logits_per_image
    return seen.pooler_output, read.pooler_output, seen.last_hidden_state, read.last_hidden_state, scores


def test_vectors_tokens_and_scores_are_the_peers(folder: Path, model: Any):
    pixels, inputs = (
        model.processors["image"](photographs([(SIDE[folder.name],) * 2] * 3)),
        model.processors["text"](TEXTS),
    )
    words = words_of_peer(folder, TEXTS)
    # Already of their size, so that both see the same pixels: resizing has a test of its own.
    images = images_of_peer(folder, list(pixels["pixels"]), do_resize=False, do_center_crop=False)
    image, text, seen, read, scores = said_by_peer(folder, words, images)
    with torch.no_grad():
        a, b = model.encode("image", pixels), model.encode("text", inputs)
        patches, tokens = model.features("image", pixels), model.features("text", inputs)
        ours = model.parts["dot"](a, b)
    torch.testing.assert_close(a.dense, F.normalize(image, dim=-1), **CLOSE)
    torch.testing.assert_close(b.dense, F.normalize(text, dim=-1), **CLOSE)
    torch.testing.assert_close(ours, scores, rtol=1e-5, atol=1e-5 * float(model.parts["dot"].current_scale().detach()))
    assert patches.tokens is not None and patches.grid is not None and tokens.tokens is not None
    assert patches.tokens.shape[1] == patches.grid[0] * patches.grid[1]
    seen = seen.flatten(2).transpose(1, 2) if seen.dim() == 4 else seen
    last = seen[:, :16] if folder.name == "siglip2" else seen[:, -patches.tokens.shape[1] :]  # NaFlex pads after them
    torch.testing.assert_close(patches.tokens, last, **CLOSE)
    torch.testing.assert_close(tokens.tokens, read, **CLOSE)
    assert float(a.dense.std(0).mean()) > 1e-4 and float(b.dense.std(0).mean()) > 1e-4  # inputs are told apart


def grey_levels_off(folder: Path, model: Any, picture: Image.Image, *, backend: str = "torchvision") -> float:
    """How far the worst of our pixels is from the peer's, on 0 to 255, both as the module sees them."""
    encoder = model.towers["image"]
    ours = encoder.normalise(model.processors["image"]([picture])["pixels"])
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
    theirs = torch.as_tensor(processor([picture], return_tensors="pt")["pixel_values"])
    if folder.name == "siglip2":  # patches, and padding after them
        side, p = ours.shape[2] // PATCH, PATCH
        theirs = theirs[0, : side * side].view(side, side, p, p, 3).permute(4, 0, 2, 1, 3).reshape(ours.shape)
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs() * 255 * torch.tensor(encoder.std).view(3, 1, 1)).max())


def test_pixels_are_the_peers_within_a_grey_level(folder: Path, model: Any):
    sizes = [(64, 64), (301, 301), (17, 17)] if folder.name == "siglip2" else SIZES  # the shapes that a square grid has
    for picture in photographs(sizes):
        assert grey_levels_off(folder, model, picture, backend="pil") < 1e-3  # the same bytes
        assert grey_levels_off(folder, model, picture) < 1.001  # torchvision rounds them in another order


def test_tokens_are_the_peers(folder: Path, model: Any):
    ours, theirs = model.processors["text"](NASTY), words_of_peer(folder, NASTY)
    ids, mask = ours["ids"], ours["mask"]
    if transformers.AutoTokenizer.from_pretrained(folder).padding_side == "left":
        turned = model.towers["text"].embed(ours)
        ids, mask = turned.x, turned.mask
    assert torch.equal(ids, theirs["input_ids"])
    if "attention_mask" in theirs:
        assert torch.equal(mask.long(), theirs["attention_mask"])
    assert model.processors["text"].encode(NASTY)[1].sum() >= 1


def test_a_checkpoint_of_ours_gives_the_same_answers(folder: Path, model: Any, tmp_path: Path):
    pixels, words = model.processors["image"](photographs()), model.processors["text"](TEXTS)
    checkpoint.save(model, tmp_path / "ours", reference={"image": pixels, "text": words})
    again = diptych.load(tmp_path / "ours")
    for view, inputs in (("image", pixels), ("text", words)):
        assert torch.equal(again.encode(view, inputs).dense, model.encode(view, inputs).dense)
    assert checkpoint.fingerprint(again) == checkpoint.fingerprint(model)


def test_every_weight_is_of_use_and_the_layers_are_listed(folder: Path, model: Any):
    copied: Any = diptych.load(f"hf:{folder}", wrapped=True).train()
    pixels, words = copied.processors["image"](photographs()), copied.processors["text"](TEXTS)
    copied.parts["dot"](copied.encode("image", pixels), copied.encode("text", words)).square().sum().backward()
    unused = [name for name, weight in copied.named_parameters() if weight.grad is None]
    assert unused == []
    for tower in model.towers.values():
        assert len(tower.blocks) == 2


def plain_clip() -> tuple[Any, Any, Any]:
    """With MLPs four times as wide as the tower, as published ones have."""
    _, tokenizer, images = FAMILIES["clip"]()
    text = {**words(tokenizer), "intermediate_size": 64}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**VISION, "intermediate_size": 96}, projection_dim=20
    )
    return transformers.CLIPModel(config), tokenizer, images


@pytest.mark.parametrize("max_length", [None, 60, 12])
def test_a_plain_clip_is_ours_with_the_same_answers(max_length: int | None, tmp_path: Path):
    folder = saved(tmp_path / "clip", plain_clip())
    native = diptych.load(f"hf:{folder}", max_length=max_length)
    wrapped = diptych.load(f"hf:{folder}", max_length=max_length, wrapped=True)
    assert isinstance(native.towers["image"], VisionTransformer) and isinstance(native.towers["text"], TextTransformer)
    texts = [*NASTY, "a dog <|endoftext|> on the grass", "the cat " * 40]
    with torch.no_grad():
        for view, values in (("image", photographs()), ("text", texts)):
            a, b = (one.encode(view, one.processors[view](values)).dense for one in (native, wrapped))
            torch.testing.assert_close(a, b, **CLOSE)
        pixels = native.processors["image"](photographs())
        seen, peer = native.features("image", pixels).tokens, wrapped.features("image", pixels).tokens
        norm: Any = peer_of(folder).vision_model.post_layernorm
        torch.testing.assert_close(seen, norm(peer), **CLOSE)
    assert torch.equal(native.parts["dot"].state_dict()["log_scale"], wrapped.parts["dot"].state_dict()["log_scale"])
    inputs = native.processors["text"](TEXTS)  # they fit into 12 tokens
    a, b = (one.features("text", inputs).tokens for one in (native, wrapped))
    assert a is not None and b is not None
    torch.testing.assert_close(a[inputs["mask"]], b[inputs["mask"]], **CLOSE)


def test_a_clip_that_is_not_plain_stays_wrapped(tmp_path: Path):
    assert isinstance(diptych.load(f"hf:{saved(tmp_path / 'a', FAMILIES['clip']())}").towers["text"], HubText)  # MLPs
    model, tokenizer, images = plain_clip()
    model.config.text_config.eos_token_id = 5  # pools where our tokens do not end
    assert isinstance(diptych.load(f"hf:{saved(tmp_path / 'b', (model, tokenizer, images))}").towers["text"], HubText)
