"""A picture's vector as the text tower would say it, and a text's as the image tower would, found by descent.

    OTI:  minimise  1 - cos(text(a photo of S*), image vector)   over the pseudo-words S*
    OVI:  minimise  1 - cos(image(V* everywhere), text vector)   over the pseudo-patches V*

Nothing of the model changes: what is sought is what is added to the embeddings of some placeholder words of a sentence,
or of the patches of a plain grey picture (with P pseudo-patches each fills an equal run of places), before the blocks.
So a comparison within one modality can be made across the two, which is what contrastive training taught the model.

It takes some hundred forward and backward passes of a tower for every item: for questions of hundreds, not for search.

Source: Mistretta et al. 2025 (arXiv 2502.04263): AdamW, rate 0.02, decay 0.01, one token, 150 steps (OTI) and 1,000
(OVI), "a photo of". There a pseudo-token takes the place of an embedding, and its place's vector (and of CLIP's image
tower a LayerNorm) comes after; here it is added after both, and starts from the placeholder.

System: 208 (Cross the Gap)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from diptych.core.embedding import Embedding, Tokens
from diptych.core.encoder import Encoder
from diptych.core.model import Model
from diptych.data.processors import ImageProcessor
from diptych.models.modes import evaluating

PLACEHOLDER = "x"
GREY = 128
CHUNK = 64
"""Items that are sought together; each is sought by itself all the same."""


@dataclass(frozen=True)
class Descent:
    """How long and how fast to seek.

    Attributes:
        steps: of AdamW, at least 1.
        lr: its rate.
        weight_decay: of what is added.
        tokens: pseudo-words or pseudo-patches, at least 1.
        seed: of where they begin (a normal distribution of deviation 0.02).
    """

    steps: int = 150
    lr: float = 0.02
    weight_decay: float = 0.01
    tokens: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Inverted:
    """What was found.

    Attributes:
        embedding: `"dense"` `[N, D]`, of unit length, by the tower of the other modality.
        cosine: `[N]`, to the targets, where the descent ended.
        losses: the mean of 1 - cosine before each step, of all items.
    """

    embedding: Embedding
    cosine: Tensor
    losses: list[float]


def to_text(model: Model, targets: Tensor, *, descent: Descent = Descent(), prompt: str = "a photo of") -> Inverted:
    """Pseudo-words behind a prompt whose text has the targets' vectors (OTI).

    Args:
        model: a text tower with tokens to add to, and a head `"dense"`.
        targets: `[N, D]`, of pictures.
        descent: how to seek them.
        prompt: what stands before them.

    Raises:
        ValueError: if the tower embeds words itself, or its processor does not keep the placeholder apart.
    """
    processor, tower = model.processors["text"], _tower(model, "text")
    before = processor([prompt])
    inputs = processor([" ".join([prompt, *[PLACEHOLDER] * descent.tokens])])
    count = int(inputs["mask"].sum() - before["mask"].sum())
    if count != descent.tokens:
        raise ValueError(
            f"the prompt {prompt!r} with {descent.tokens} placeholders has {count} tokens more than without: this "
            "text processor does not keep them apart, or cuts the prompt"
        )
    short = min(inputs["ids"].shape[1], before["ids"].shape[1])
    differ = (inputs["ids"][0, :short] != before["ids"][0, :short]).nonzero()
    first = int(differ[0]) if len(differ) else short
    places = torch.full((inputs["ids"].shape[1],), -1)
    places[first : first + count] = torch.arange(count)
    return _sought(model, "text", tower, inputs, places, targets, descent)


def to_image(model: Model, targets: Tensor, *, descent: Descent = Descent(steps=1000)) -> Inverted:
    """Pseudo-patches that make a picture with the targets' vectors (OVI).

    Args:
        model: an image tower with patches, or a map of places, to add to, and a head `"dense"`.
        targets: `[N, D]`, of texts.
        descent: how to seek them.

    Raises:
        ValueError: if the tower embeds pixels itself, or reads no pictures.
    """
    processor, tower = model.processors["image"], _tower(model, "image")
    if not isinstance(processor, ImageProcessor):
        raise ValueError(f"the image tower reads the column {processor.column!r}, not pictures: it has no patches")
    inputs = {"pixels": torch.full((1, *processor.shape), GREY, dtype=torch.uint8)}
    with torch.no_grad():
        x = tower.embed(inputs).x
    if x.dim() == 4:  # a map [N, D, H, W]
        height, width = x.shape[2:]
        places = torch.arange(height * width) * descent.tokens // (height * width)
    else:
        grid = getattr(tower, "first", None) is not None  # a class token stands before the patches
        patches = x.shape[1] - int(grid)
        places = torch.cat([torch.full((int(grid),), -1), torch.arange(patches) * descent.tokens // patches])
    return _sought(model, "image", tower, inputs, places, targets, descent)


def _tower(model: Model, view: str) -> Encoder:
    tower = model.towers[view]
    if not isinstance(tower, Encoder):
        raise ValueError(f"the {view} tower is a {type(tower).__name__}, which has no tokens to add to")
    return tower


def _sought(
    model: Model,
    view: str,
    tower: Encoder,
    inputs: dict[str, Tensor],
    places: Tensor,
    targets: Tensor,
    descent: Descent,
) -> Inverted:
    """Descend for all targets.

    Args:
        inputs: of one item, to which pseudo-tokens are added.
        places: `[T]`, which pseudo-token each place gets; -1 for none.
    """
    if descent.steps < 1 or descent.tokens < 1:
        raise ValueError(f"steps is {descent.steps} and tokens {descent.tokens}; each must be at least 1")
    device = next(model.parameters()).device
    targets, places = F.normalize(targets.float(), dim=-1).to(device), places.to(device)
    with evaluating(model), torch.no_grad():
        start = tower.embed({name: one.to(device) for name, one in inputs.items()})
    pixels = inputs.get("pixels")
    if not start.x.is_floating_point() or (pixels is not None and start.x.shape == pixels.shape):
        raise ValueError(
            f"{type(tower).__name__} embeds its inputs within its blocks, so nothing can be added to them; take towers "
            "of Diptych's own, or a plain CLIP"
        )
    say = _saying(model, view, tower, start, places)
    width = start.x.shape[1] if start.x.dim() == 4 else start.x.shape[2]
    generator = torch.Generator().manual_seed(descent.seed)
    found, losses = [], torch.zeros(descent.steps)
    with evaluating(model):
        for own in targets.split(CHUNK):
            added = 0.02 * torch.randn(len(own), descent.tokens, width, generator=generator)
            added = added.to(device).requires_grad_()
            optimizer = torch.optim.AdamW([added], lr=descent.lr, weight_decay=descent.weight_decay)
            for step in range(descent.steps):
                loss = (1 - (say(added) * own).sum(-1)).sum()
                losses[step] += loss.detach().cpu()
                (added.grad,) = torch.autograd.grad(loss, [added])
                optimizer.step()
            with torch.no_grad():
                found.append(say(added).cpu())
    vectors = torch.cat(found)
    cosine = (vectors * targets.cpu()).sum(-1)
    return Inverted(Embedding({"dense": vectors}), cosine, (losses / len(targets)).tolist())


def _saying(model: Model, view: str, tower: Encoder, start: Tokens, places: Tensor) -> Callable[[Tensor], Tensor]:
    """What the tower and its head say, `[N, D]`, of pseudo-tokens `[N, P, width]`."""
    head = model.heads[view]["dense"]  # type: ignore[index]
    real = (places >= 0).to(start.x.dtype)

    def say(added: Tensor) -> Tensor:
        spread = added[:, places.clamp(min=0)] * real[:, None]  # [N, T, width]
        if start.x.dim() == 4:
            spread = spread.transpose(1, 2).unflatten(2, start.x.shape[2:])
        n = len(added)
        mask = None if start.mask is None else start.mask.expand(n, -1)
        tokens = replace(start, x=start.x.expand(n, *start.x.shape[1:]) + spread, mask=mask)
        return F.normalize(head(tower.pool(tower.contextualise(tokens))), dim=-1)

    return say
