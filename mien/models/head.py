"""What every kind of head has in common: features in, logits out; logits in, probabilities and losses out."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """What every head has in common: ``companion`` names the task whose logits it needs too."""

    companion: str | None = None

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Float32, n x classes or n x levels; every row sums to one."""
        raise NotImplementedError

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss of each face (float32, n; 0 where it does not count) and whether it counts (bool, n).

        ``labels``: class numbers (int64, n) of a nominal task; lowest and highest level (float, n) of an ordinal one.
        """
        raise NotImplementedError
