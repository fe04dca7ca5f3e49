"""The descent falls and ends nearer its targets than anything it began from; a tower without tokens is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diptych.core.embedding import Tokens
from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.encoders import ConvNet, Projection, TextTransformer
from diptych.encoders.vit import VisionTransformer
from diptych.evaluation.modality_inversion import Descent, to_image, to_text
from diptych.scoring import Dot

WIDTH = 16


def tiny(image: str = "vit", *, causal: bool = False) -> Model:
    torch.manual_seed(0)
    text_processor = TextProcessor(vocab_size=300, max_length=12).fit(["a photo of x", "a photo of a dog", "a cat"])
    text = TextTransformer(
        300, width=32, depth=1, heads=2, max_length=12, causal=causal, pooling="last" if causal else "mean"
    )
    if image == "vit":
        tower = VisionTransformer(16, patch=4, width=32, depth=1, heads=2)
    else:
        tower = ConvNet(3, patch=4, widths=(16, 32), depths=(1, 1))
    heads = {"image": {"dense": Projection(tower.width, WIDTH)}, "text": {"dense": Projection(32, WIDTH)}}
    processors = {"image": ImageProcessor(16), "text": text_processor}
    return Model({"image": tower, "text": text}, heads, {"dot": Dot()}, processors).eval()


def targets(n: int = 5) -> torch.Tensor:
    return F.normalize(torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.mark.parametrize("causal", [False, True])
def test_pseudo_words_come_near_their_pictures(causal: bool):
    model = tiny(causal=causal)
    found = to_text(model, targets(), descent=Descent(steps=60, lr=0.1))
    assert found.losses[-1] < 0.6 * found.losses[0]
    with torch.no_grad():
        plain = model.encode("text", model.processors["text"](["a photo of x"])).dense
    began = (plain * targets()).sum(1)
    assert (found.cosine > began + 0.2).all()
    assert torch.allclose(found.cosine, (found.embedding.dense * targets()).sum(1), atol=1e-6)
    if causal:  # the last token sees the pseudo-word through one block of attention alone: not all can be reached
        return
    # Of the five each is nearest to its own target: the pseudo-words differ.
    assert (found.embedding.dense @ targets().T).argmax(1).tolist() == list(range(5))


@pytest.mark.parametrize("image", ["vit", "conv"])
def test_pseudo_patches_come_near_their_texts(image: str):
    found = to_image(tiny(image), targets(), descent=Descent(steps=60, lr=0.1, tokens=4))
    assert found.losses[-1] < 0.7 * found.losses[0]
    assert (found.embedding.dense @ targets().T).argmax(1).tolist() == list(range(5))


def test_nothing_added_is_the_placeholder_itself():
    model = tiny()
    found = to_text(model, targets(), descent=Descent(steps=1, lr=0.0))
    with torch.no_grad():
        plain = model.encode("text", model.processors["text"](["a photo of x"])).dense
    # What begins 0.02 away moves the vector by little.
    assert torch.allclose(found.embedding.dense, plain.expand(5, -1), atol=0.05)


def test_the_model_is_unchanged_and_the_seed_decides():
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, again = (to_text(model, targets(), descent=Descent(steps=3)).embedding.dense for _ in range(2))
    assert torch.equal(one, again)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_refusals():
    with pytest.raises(ValueError, match="steps is 0"):
        to_text(tiny(), targets(), descent=Descent(steps=0))
    with pytest.raises(ValueError, match="cuts the prompt"):
        to_text(tiny(), targets(), prompt="a photo of a dog and a cat and a dog and a cat and more of them")


def test_a_tower_that_embeds_within_its_blocks_is_refused():
    class Whole(ConvNet):
        def embed(self, inputs):  # type: ignore[no-untyped-def]
            return Tokens(inputs["pixels"].float())

    model = tiny("conv")
    model.towers["image"] = Whole(3, patch=4, widths=(16, 32), depths=(1, 1))
    with pytest.raises(ValueError, match="Whole embeds its inputs within its blocks"):
        to_image(model, targets())
