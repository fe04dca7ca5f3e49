"""Small CLIPs of ours with open_clip's weights, and pictures and texts to ask them."""

from __future__ import annotations

import numpy as np
import open_clip
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from diptych.core.model import Model
from diptych.data.processors import ImageProcessor, TextProcessor
from diptych.models import clip_from_weights
from diptych.scoring import Dot

SIZE, PATCH, LENGTH, WORDS = 24, 8, 12, 40
TEXTS = ["a dog runs", "dog", "a a runs runs dog a", "dog " * 30, ""]


def tokenizer(*, start: int, end: int) -> str:
    """A tokenizer of a few words whose texts begin and end with a token of their own."""
    vocabulary = {"?": 5, "a": 6, "dog": 7, "runs": 8, "<start>": start, "<end>": end}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", start), ("<end>", end)]
    )
    return made.to_str()


def clip(
    *,
    quick: bool = False,
    resize: str = "shortest",
    end: int = WORDS - 1,
    words: bool = True,
    dot: Dot | None = None,
    layers: int = 2,
) -> Model:
    """A model as `clip_from_weights` builds it, of random weights."""
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=layers, width=32, head_width=8, patch_size=PATCH, image_size=SIZE)
    text = open_clip.CLIPTextCfg(context_length=LENGTH, vocab_size=WORDS, width=24, heads=2, layers=layers)
    peer = open_clip.CLIP(16, vision, text, quick_gelu=quick)
    with torch.no_grad():  # biases and norms off their plain starting values, so that a test sees them
        for parameter in peer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    processor = TextProcessor(WORDS, max_length=LENGTH, definition=tokenizer(start=end - 1, end=end)) if words else None
    weights = peer.state_dict() | ({"logit_bias": torch.tensor(-3.0)} if dot and dot.offset is not None else {})
    model = clip_from_weights(
        weights, parts={"dot": dot or Dot()}, quick_gelu=quick, heads=(4, 2), text_processor=processor
    )
    model.processors["image"] = ImageProcessor(SIZE, resize=resize)  # type: ignore[arg-type]
    return model.eval()


def pictures(*, size: tuple[int, int] = (SIZE, SIZE), count: int = 3) -> list[Image.Image]:
    """Noise, width first."""
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(count)]


@torch.no_grad()
def vectors(model: Model, view: str, values: list) -> Tensor:
    """What a model of ours says of pictures or texts."""
    return model.encode(view, model.processors[view](values)).vectors["dense"]


def text_alone(model: Model) -> Model:
    """The text tower of a model, for tests that need no other."""
    heads = {"text": dict(model.heads["text"].named_children())}
    processors = {name: one for name, one in model.processors.items() if name == "text"}
    return Model({"text": model.towers["text"]}, heads, {}, processors).eval()
