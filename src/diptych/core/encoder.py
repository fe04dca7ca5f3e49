"""An encoder turns the inputs of one modality into features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from diptych.core.embedding import Features, Tokens


class Encoder(nn.Module):
    """One modality. `embed`, `contextualise` and `pool` are apart for those who prompt, merge or adapt.

    It keeps each constructor argument as an attribute of the same name, for `core.configuration.describe`.

    Attributes:
        blocks: the layers that `contextualise` runs, in order.
        width: D of the pooled features.
    """

    blocks: nn.ModuleList
    width: int

    def embed(self, inputs: Mapping[str, Tensor]) -> Tokens:
        """Inputs, each led by N rows, to the first tokens `[N, T, D]`."""
        raise NotImplementedError

    def contextualise(self, tokens: Tokens) -> Tokens:
        """Run the blocks."""
        raise NotImplementedError

    def pool(self, tokens: Tokens) -> Features:
        """Tokens to features: `pooled` `[N, width]`, and the tokens themselves."""
        raise NotImplementedError

    def forward(self, inputs: Mapping[str, Tensor]) -> Features:
        """`pool(contextualise(embed(inputs)))`."""
        return self.pool(self.contextualise(self.embed(inputs)))
