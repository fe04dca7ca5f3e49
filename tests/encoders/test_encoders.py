"""Encoders: padding changes nothing, tokens and pooled features agree, peers' weights give peers' answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertConfig, BertModel
from transformers.models.bert import BertTokenizer

from diptych.core import Encoder
from diptych.data.processors import TextProcessor
from diptych.encoders import ConvNet, HubText, Projection, TextTransformer, TimmImage
from diptych.encoders.packing import Packing, attention, masked_mean

TEXTS = ["a dog", "two dogs running on the grass", "cat", ""]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "dog",
    "dogs",
    "two",
    "running",
    "on",
    "the",
    "grass",
    "cat",
]


def bert(folder: Path) -> Path:
    """A tiny BERT with random weights and its tokenizer, saved by `transformers`."""
    torch.manual_seed(0)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def own(folder: Path) -> tuple[Encoder, TextProcessor]:
    torch.manual_seed(0)
    return TextTransformer(300, width=16, depth=2, heads=2, max_length=24), TextProcessor(300).fit(TEXTS)


def hub(folder: Path) -> tuple[Encoder, TextProcessor]:
    return HubText.open(bert(folder))


@pytest.mark.parametrize("make", [own, hub])
def test_padding_changes_nothing(make: Callable, tmp_path: Path):
    encoder, processor = make(tmp_path)
    encoder.eval()
    together = encoder(processor(TEXTS))
    for i, text in enumerate(TEXTS):
        alone = encoder(processor([text]))
        torch.testing.assert_close(alone.pooled[0], together.pooled[i], rtol=0, atol=1e-5)  # float32 sums
        length = alone.tokens.shape[1]
        torch.testing.assert_close(alone.tokens[0], together.tokens[i, :length], rtol=0, atol=1e-5)
        assert int(together.mask[i].sum()) == length


@pytest.mark.parametrize("make", [own, hub])
def test_pooled_is_the_mean_of_real_tokens(make: Callable, tmp_path: Path):
    encoder, processor = make(tmp_path)
    features = encoder.eval()(processor(TEXTS))
    torch.testing.assert_close(features.pooled, masked_mean(features.tokens, features.mask))


def test_a_hub_model_has_no_more_places_than_it_has(tmp_path: Path):
    with pytest.raises(ValueError, match="has 32 places; --max-length is 33"):
        HubText.open(bert(tmp_path), max_length=33)


def test_a_hub_model_gives_the_peers_hidden_states(tmp_path: Path):
    encoder, processor = hub(tmp_path)
    tokenizer, peer = AutoTokenizer.from_pretrained(tmp_path), BertModel.from_pretrained(tmp_path).eval()
    asked = tokenizer(TEXTS, padding=True, return_tensors="pt")
    inputs = processor(TEXTS)
    assert torch.equal(inputs["ids"], asked["input_ids"]) and torch.equal(
        inputs["mask"], asked["attention_mask"].bool()
    )
    with torch.no_grad():
        expected, got = peer(**asked).last_hidden_state, encoder.eval()(inputs).tokens
    torch.testing.assert_close(got[inputs["mask"]], expected[inputs["mask"]], rtol=0, atol=1e-5)


def test_a_folder_that_is_no_model_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot open the text model"):
        HubText.open(tmp_path)


def test_packing_undoes_itself_and_attention_is_torchs():
    mask = torch.arange(7)[None] < torch.tensor([[3], [7], [1]])
    x = torch.randn(3, 7, 4)
    packing = Packing(mask)
    assert packing.pack(x).shape == (Packing.STRIDE, 4)
    assert torch.equal(packing.unpack(packing.pack(x)), x * mask[..., None])
    q, k, v = torch.randn(3, 3, 2, 7, 8).unbind()
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    torch.testing.assert_close(attention(q, k, v, mask), expected)


@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 32), (3, 50), (3, 128)])
def test_the_convnet_takes_any_size(channels: int, size: int):
    encoder = ConvNet(channels, patch=4, widths=(8, 16), depths=(1, 1), grid=2)
    features = encoder({"pixels": torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)})
    assert features.pooled.shape == (2, encoder.width) == (2, 64)
    assert features.tokens is not None and features.grid is not None
    assert features.tokens.shape == (2, features.grid[0] * features.grid[1], 16)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv2_050"])
def test_a_timm_backbone_gives_timms_features(name: str, tmp_path: Path):
    torch.manual_seed(0)
    peer = timm.create_model(name, pretrained=False, num_classes=5).eval()
    save_file(peer.state_dict(), tmp_path / "weights.safetensors")
    encoder = TimmImage(name, mean=(0.5,) * 3, std=(0.25,) * 3).load_weights(tmp_path / "weights.safetensors").eval()
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        features_of_peer = peer.forward_features((pixels / 255 - 0.5) / 0.25)  # type: ignore[operator]
        expected = peer.forward_head(features_of_peer, pre_logits=True)  # type: ignore[operator]
        features = encoder({"pixels": pixels})
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)
    assert features.pooled.shape[1] == encoder.width and features.tokens is not None


def test_weights_that_do_not_fit_are_named(tmp_path: Path):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"does not fit timm's 'resnet10t': missing \['bn1"):
        TimmImage("resnet10t").load_weights(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="pickled weights are never opened"):
        TimmImage("resnet10t").load_weights(tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="timm has no model 'resnet999'"):
        TimmImage("resnet999")


def test_projections_are_of_unit_length():
    from diptych.core import Features

    for hidden in (0, 8):
        vectors = Projection(12, 5, hidden=hidden)(Features(torch.randn(7, 12)))
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))
