"""The wrapped towers of open_clip: what they need of their inputs, and what they show of themselves."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("open_clip", reason="open_clip is an extra: pip install 'diptych[open-clip]'")

from diptych.encoders.open_clip_image import image_tower
from diptych.encoders.open_clip_text import text_tower

VIT = {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 9, "vocab_size": 30, "width": 16, "heads": 2, "layers": 3}
HUB = {
    "model_type": "roberta",
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 11,
    "pad_token_id": 1,
}


def texts(length: int = 9) -> dict[str, torch.Tensor]:
    """Two texts of 4 and 6 tokens that end with the highest id."""
    ids = torch.tensor([[27, 5, 6, 28, 0, 0, 0, 0, 0], [27, 7, 7, 8, 9, 28, 0, 0, 0]])[:, :length]
    return {"ids": ids, "mask": torch.arange(length) < torch.tensor([[4], [6]])}


def test_a_causal_tower_does_not_depend_on_the_padding():
    torch.manual_seed(0)
    encoder = text_tower(8, TEXT).eval()
    full, short = encoder(texts()), encoder(texts(6))
    alone = encoder({name: x[:1, :4] for name, x in texts().items()})
    # Attention over fewer places sums in another order.
    torch.testing.assert_close(short.pooled, full.pooled, rtol=0, atol=1e-6)
    torch.testing.assert_close(alone.pooled, full.pooled[:1], rtol=0, atol=1e-6)
    assert full.pooled.std() > 0.001


@pytest.mark.parametrize("more", [{"no_causal_mask": True}, {"embed_cls": True}, {"pool_type": "last"}])
def test_a_tower_that_reads_its_padding_wants_it_whole(more: dict):
    encoder = text_tower(8, {**TEXT, **more}).eval()
    assert encoder.filled == 9 and encoder(texts()).pooled.shape == (2, 8)
    with pytest.raises(ValueError, match="texts of 6 tokens; this encoder takes exactly 9, filled up with padding"):
        encoder(texts(6))


def test_too_many_tokens_or_pixels_are_refused():
    long = {"ids": torch.full((1, 10), 5), "mask": torch.ones(1, 10, dtype=torch.bool)}
    for encoder in (text_tower(8, TEXT), text_tower(8, {"hf_model_name": "any"}, hub_config=HUB)):
        assert encoder.places == 9
        with pytest.raises(ValueError, match="texts of 10 tokens; this encoder takes at most 9"):
            encoder(long)
    with pytest.raises(ValueError, match=r"images of \(16, 24\) pixels; this encoder has places for 16"):
        image_tower(8, VIT)({"pixels": torch.zeros(1, 3, 16, 24, dtype=torch.uint8)})


def test_a_model_of_transformers_wants_its_configuration():
    with pytest.raises(ValueError, match="the configuration of 'roberta-base' is needed"):
        text_tower(8, {"hf_model_name": "roberta-base"})


def test_blocks_are_the_layers_that_run():
    timm = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"}
    convnext = {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
    for encoder, inputs, depth in (
        (image_tower(8, VIT), {"pixels": torch.zeros(1, 3, 16, 16, dtype=torch.uint8)}, 2),
        (image_tower(8, timm), {"pixels": torch.zeros(1, 3, 160, 160, dtype=torch.uint8)}, 6),
        (image_tower(8, convnext), {"pixels": torch.zeros(1, 3, 64, 64, dtype=torch.uint8)}, 1),
        (text_tower(8, TEXT), texts(), 3),
        (text_tower(8, {**TEXT, "embed_cls": True}), texts(), 3),
        (text_tower(8, {"hf_model_name": "any"}, hub_config=HUB), texts(), 1),
    ):
        ran = []
        for block in encoder.blocks:
            block.register_forward_hook(lambda module, _, __, ran=ran: ran.append(module))
        encoder.contextualise(encoder.embed(inputs)) if depth > 1 else encoder(inputs)
        assert ran in (list(encoder.blocks), []) and len(encoder.blocks) == depth
        assert ran or depth == 1  # a backbone as one block is run piece by piece
        names = [name for name, _ in encoder.named_parameters()]
        assert not any(name.startswith("blocks.") for name in names)


def test_weights_of_timm_are_never_asked_for():
    cfg = {"image_size": 160, "timm_model_name": "test_vit", "timm_model_pretrained": True, "timm_pool": ""}
    assert image_tower(8, {**cfg, "timm_proj": "linear"}).vision_cfg["timm_model_pretrained"] is False
