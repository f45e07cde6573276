"""What every kind of head has in common: features in, logits out; logits in, probabilities and losses out."""

from __future__ import annotations

from torch import Tensor, nn


class Head(nn.Module):
    """What every head has in common: ``companion`` names the task whose logits it needs too."""

    companion: str | None = None
    #: Whether `soft_losses` means something for it.
    teachable = True

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

    def soft_losses(self, logits: Tensor, targets: Tensor, companion: Tensor | None = None) -> Tensor:
        """Cross-entropy of each face against a teacher's probabilities; float32, n. ``targets``: as `probabilities`."""
        return -(targets * self.probabilities(logits, companion).clamp(min=1e-7).log()).sum(dim=1)
