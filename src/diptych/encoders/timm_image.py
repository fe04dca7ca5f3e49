"""Any image backbone of `timm`, by name, with weights from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens
from diptych.core.encoder import Encoder
from diptych.encoders.pixels import PixelNorm


class TimmImage(Encoder):
    """A `timm` model without its classifier: its features are the tokens, its own pooling pools them.

    Args:
        name: as `timm.list_models()` gives it.
        options: further arguments of `timm.create_model`, e.g. `{"pad_type": "same"}`.
        mean, std: of each channel, on [0, 1]; None takes those of the model's own configuration.

    Source: Wightman 2019, PyTorch Image Models.
    """

    def __init__(
        self,
        name: str,
        *,
        options: Mapping[str, Any] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        import timm  # takes seconds, and most models have no need of it

        super().__init__()
        self.name, self.options = name, dict(options or {})
        try:
            self.backbone = timm.create_model(name, pretrained=False, num_classes=0, **self.options)
        except RuntimeError as error:
            near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8]) or "see timm.list_models()"
            raise ValueError(f"timm has no model {name!r}; near it: {near}") from error
        self.backbone.to(memory_format=torch.channels_last)
        config: Mapping[str, Any] = self.backbone.pretrained_cfg  # type: ignore[assignment]
        self.fixed_size: int | None = config["input_size"][-1] if config.get("fixed_input_size") else None
        self.mean = tuple(mean or config.get("mean") or (0.5, 0.5, 0.5))
        self.std = tuple(std or config.get("std") or (0.5, 0.5, 0.5))
        self.normalise = PixelNorm(self.mean, self.std)
        self.width = int(getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features)  # type: ignore[arg-type]

    @property
    def blocks(self) -> nn.ModuleList:  # type: ignore[override]
        """The whole backbone, as one block; not registered twice."""
        return nn.ModuleList([self.backbone])

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """`pixels` `[N, C, H, W]` uint8, normalised; what the backbone itself embeds."""
        return Tokens(self.normalise(inputs["pixels"]).contiguous(memory_format=torch.channels_last))

    def contextualise(self, tokens: Tokens) -> Tokens:
        return Tokens(self.backbone.forward_features(tokens.x))  # type: ignore[operator]

    def pool(self, tokens: Tokens) -> Features:
        pooled = self.backbone.forward_head(tokens.x, pre_logits=True)  # type: ignore[operator]
        x = tokens.x
        if x.dim() == 4 and getattr(self.backbone, "output_fmt", "NCHW") == "NHWC":
            x = x.permute(0, 3, 1, 2)
        if x.dim() == 4:  # a feature map [N, D, H, W]
            return Features(pooled, x.flatten(2).transpose(1, 2), grid=tuple(x.shape[2:]))
        return Features(pooled, x)

    def load_weights(self, file: str | Path) -> Self:
        """Take weights from a `.safetensors` file with `timm`'s own names; a classifier in it is left out.

        Raises:
            ValueError: if the file is not safetensors, or its names or shapes are not this model's.
        """
        if Path(file).suffix != ".safetensors":
            raise ValueError(f"{file}: expected a .safetensors file (pickled weights are never opened)")
        weights = load_file(file)
        own = self.backbone.state_dict()
        missing = sorted(set(own) - set(weights))
        wrong = sorted(name for name in own if name in weights and own[name].shape != weights[name].shape)
        if missing or wrong:
            raise ValueError(
                f"{file} does not fit timm's {self.name!r}: missing {missing[:5]} ({len(missing)} in all), "
                f"other shapes {wrong[:5]}"
            )
        self.backbone.load_state_dict({name: weights[name].to(own[name].dtype) for name in own})
        return self
