"""The image towers of open_clip, wrapped: its vision transformer, its ResNet, and backbones of `timm` with its heads.

    pooled = what open_clip's encode_image gives before it is scaled to length 1

Use them for architectures that `VisionTransformer` is not, to have open_clip's own answers; `image_tower` chooses the
class. The projection is part of the tower, so the head is `UnitLength`. Needs the package `open_clip`.

Source: Ilharco et al. 2021, OpenCLIP (doi 10.5281/zenodo.5143773).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.data.open_clip_text import open_clip_library
from diptych.encoders.pixels import PixelNorm


class OpenClipImage(Encoder):
    """What the image towers share; build one of the classes below, or call `image_tower`.

    Args:
        embed_dim: D of the pooled features.
        vision_cfg: open_clip's configuration of the tower, as plain values; weights are never fetched.
        quick_gelu: whether its MLPs use the quick GELU (those of `timm` never do).
        mean, std: of the pixels on [0, 1], as it was trained.

    Raises:
        ValueError: if open_clip cannot build it, or the images it takes are not square.
    """

    def __init__(
        self,
        embed_dim: int,
        vision_cfg: Mapping[str, Any],
        *,
        quick_gelu: bool = False,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__()
        from open_clip.model import _build_vision_tower

        self.embed_dim, self.quick_gelu = embed_dim, quick_gelu
        self.vision_cfg = {**vision_cfg, "timm_model_pretrained": False}
        self.mean, self.std = tuple(mean), tuple(std)
        self.size = _side(self.vision_cfg)
        self.normalise = PixelNorm(self.mean, self.std)
        try:
            self.tower: Any = _build_vision_tower(embed_dim, self.vision_cfg, quick_gelu)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise ValueError(f"open_clip cannot build the image tower {dict(vision_cfg)}: {error}") from error
        self.width = embed_dim

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`pixels` `[N, 3, size, size]` uint8, normalised; what the tower itself embeds."""
        return Tokens(self.normalise(inputs["pixels"]))

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The whole tower, as one block; not registered twice."""
        return nn.ModuleList([self.tower])


class OpenClipViT(OpenClipImage):
    """open_clip's vision transformer; the patches, or what it pools of them by attention, are the tokens."""

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The transformer's blocks."""
        return self.tower.transformer.resblocks

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`pixels` `[N, 3, size, size]` uint8 to the class token and the patches, row by row.

        Raises:
            ValueError: if the images are not of this size.
        """
        pixels = inputs["pixels"]
        if tuple(pixels.shape[2:]) != (self.size, self.size):
            raise ValueError(f"images of {tuple(pixels.shape[2:])} pixels; this encoder has places for {self.size}")
        return Tokens(self.tower._embeds(self.normalise(pixels)))

    def contextualise(self, tokens: Tokens) -> Tokens:
        return Tokens(self.tower.transformer(tokens.x))

    def pool(self, tokens: Tokens) -> Features:
        pooled, x = self.tower._pool(tokens.x)
        grid = None if self.tower.attn_pool is not None else tuple(self.tower.grid_size)
        return Features(pooled @ self.tower.proj, x, grid=grid)


class OpenClipTimm(OpenClipImage):
    """A backbone of `timm` with open_clip's head; its features, without class and register tokens, are the tokens."""

    def __init__(
        self,
        embed_dim: int,
        vision_cfg: Mapping[str, Any],
        *,
        quick_gelu: bool = False,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
    ) -> None:
        super().__init__(embed_dim, vision_cfg, quick_gelu=quick_gelu, mean=mean, std=std)
        if self.vision_cfg.get("timm_proj") == "none":
            self.width = int(getattr(self.tower.trunk, "head_hidden_size", None) or self.tower.trunk.num_features)

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The backbone's blocks where they are one list, else all of it as one block; not registered twice."""
        blocks = getattr(self.tower.trunk, "blocks", None)
        return nn.ModuleList(blocks if isinstance(blocks, nn.Sequential | nn.ModuleList) else [self.tower.trunk])

    def contextualise(self, tokens: Tokens) -> Tokens:
        return Tokens(self.tower.trunk.forward_features(tokens.x))

    def pool(self, tokens: Tokens) -> Features:
        trunk, x = self.tower.trunk, tokens.x
        pooled = self.tower.head(trunk.forward_head(x))
        if x.dim() == 4 and getattr(trunk, "output_fmt", "NCHW") == "NHWC":
            x = x.permute(0, 3, 1, 2)
        if x.dim() == 4:  # a feature map [N, D, H, W]
            return _with_map(pooled, x)
        x = x[:, getattr(trunk, "num_prefix_tokens", 0) :]
        grid = tuple(getattr(getattr(trunk, "patch_embed", None), "grid_size", None) or ())
        return Features(pooled, x, grid=grid if len(grid) == 2 and grid[0] * grid[1] == x.shape[1] else None)


class OpenClipResNet(OpenClipImage):
    """CLIP's ResNet, pooled by attention; its last feature map is the tokens."""

    def contextualise(self, tokens: Tokens) -> Tokens:
        x = self.tower.stem(tokens.x)
        for layer in (self.tower.layer1, self.tower.layer2, self.tower.layer3, self.tower.layer4):
            x = layer(x)
        return Tokens(x)

    def pool(self, tokens: Tokens) -> Features:
        return _with_map(self.tower.attnpool(tokens.x), tokens.x)


def image_tower(
    embed_dim: int,
    vision_cfg: Mapping[str, Any],
    *,
    quick_gelu: bool = False,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
) -> OpenClipImage:
    """The image tower of a configuration, with random weights; arguments as for `OpenClipImage`.

    Raises:
        ValueError: if the configuration names what cannot be opened.
    """
    known = {field.name for field in fields(open_clip_library().CLIPVisionCfg)}
    if unknown := sorted(set(vision_cfg) - known):
        raise ValueError(f"vision_cfg has {unknown}, which this version of open_clip does not know: update open_clip")
    if str(vision_cfg.get("timm_model_name")).startswith("naflex"):
        raise ValueError(
            f"{vision_cfg['timm_model_name']} takes images of any shape cut into patches; here images are squares of "
            "one size: choose an architecture without NaFlex"
        )
    if vision_cfg.get("pool_type") == "none" or isinstance(vision_cfg.get("attentional_pool"), str):
        raise ValueError(
            f"vision_cfg pools with pool_type {vision_cfg.get('pool_type', 'tok')!r} and attentional_pool "
            f"{vision_cfg.get('attentional_pool', False)!r}, which gives no single vector an image"
        )
    if vision_cfg.get("timm_model_name"):
        kind = OpenClipTimm
    else:
        kind = OpenClipResNet if isinstance(vision_cfg.get("layers"), Sequence) else OpenClipViT
    return kind(embed_dim, vision_cfg, quick_gelu=quick_gelu, mean=mean, std=std)


def _side(vision_cfg: Mapping[str, Any]) -> int:
    """The side of the square images, in pixels."""
    size = vision_cfg.get("image_size", 224)
    height, width = size if isinstance(size, Sequence) else (size, size)
    if height != width:
        raise ValueError(f"vision_cfg.image_size is {height} x {width}; only square images can be processed here")
    return int(height)


def _with_map(pooled: Tensor, x: Tensor) -> Features:
    """Features whose tokens are the places of a feature map `[N, D, H, W]`, row by row."""
    return Features(pooled, x.flatten(2).transpose(1, 2), grid=tuple(x.shape[2:]))
