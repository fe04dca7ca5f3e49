"""CLIP's weights by open_clip's names and by transformers': each takes what the other has, and says the same."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from diptych.models.clip_names import from_hf, to_hf


def pair() -> tuple[open_clip.CLIP, CLIPModel]:
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=2, width=32, head_width=8, patch_size=8, image_size=24)
    text = open_clip.CLIPTextCfg(context_length=9, vocab_size=40, width=24, heads=2, layers=3)
    hf_text = {"vocab_size": 40, "hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 3}
    hf_text |= {"num_attention_heads": 2, "max_position_embeddings": 9, "eos_token_id": 39, "hidden_act": "gelu"}
    hf_vision = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    hf_vision |= {"image_size": 24, "patch_size": 8, "hidden_act": "gelu"}
    same = {"bos_token_id": None, "pad_token_id": None}
    config = CLIPConfig(text_config=hf_text | same, vision_config=hf_vision, projection_dim=16)
    return open_clip.CLIP(16, vision, text).eval(), CLIPModel(config).eval()


@pytest.mark.parametrize("way", ["to_hf", "from_hf"])
def test_the_other_library_takes_them_and_gives_the_same_vectors(way: str):
    ours, theirs = pair()
    if way == "to_hf":
        theirs.load_state_dict(to_hf(ours.state_dict()))
    else:
        ours.load_state_dict(from_hf(theirs.state_dict()))
    pixels, ids = torch.randn(3, 3, 24, 24), torch.randint(0, 39, (3, 9))
    ids[:, -1] = 39
    with torch.no_grad():
        said = theirs(input_ids=ids, pixel_values=pixels)
        # float32 sums in another order
        torch.testing.assert_close(said.image_embeds, F.normalize(ours.encode_image(pixels)), rtol=0, atol=1e-5)
        torch.testing.assert_close(said.text_embeds, F.normalize(ours.encode_text(ids)), rtol=0, atol=1e-5)
    assert ours.logit_scale.item() == theirs.logit_scale.item()


def test_there_and_back_changes_nothing():
    weights = pair()[0].state_dict()
    again = from_hf(to_hf(weights))
    assert set(again) == set(weights)
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_other_names_are_refused():
    ours, theirs = pair()
    with pytest.raises(ValueError, match=r"'visual.trunk.weight' is no weight of open_clip's plain ViT"):
        to_hf({**ours.state_dict(), "visual.trunk.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'extra.weight' is no weight of transformers' CLIPModel"):
        from_hf({**theirs.state_dict(), "extra.weight": torch.ones(1)})
    cut = theirs.state_dict()
    del cut["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(ValueError, match=r"missing \['text_model.encoder.layers.1.self_attn.k_proj.bias'\]"):
        from_hf(cut)
    old = {**theirs.state_dict(), "text_model.embeddings.position_ids": torch.arange(9)[None]}
    assert "position_ids" not in " ".join(from_hf(old))
