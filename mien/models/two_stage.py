"""Age in two stages: the bins of a coarse classifier, and a regressor for each of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.losses.ordinal import interval_loss
from mien.models.heads import Head
from mien.tasks import Task


class TwoStageHead(Head):
    """A coarse classifier's bins, then one small regressor a bin, each trained on the faces of its own bin only.

    The bins are another task of the same network, whose logits choose (``hard``) or weight (``soft``) the regressors'
    answers. Grillo and Sillitti's pipeline (2025) is the hard one.
    """

    def __init__(self, features: int, task: Task, dropout: float, *, bins: Task, mix: str, width: int) -> None:
        super().__init__()
        self.companion, self.mix = bins.name, mix
        self.lowest, self.highest = task.lowest, task.highest
        ends = [start - 1 for start in bins.starts[1:]] + [task.highest]
        self.starts: Tensor
        self.ends: Tensor
        self.centres: Tensor
        self.scales: Tensor
        self.register_buffer("starts", torch.tensor(bins.starts, dtype=torch.float32))
        self.register_buffer("ends", torch.tensor(ends, dtype=torch.float32))
        self.register_buffer("centres", (self.starts + self.ends) / 2)
        self.register_buffer("scales", ((self.ends - self.starts) / 4).clamp(min=1.0))
        self.regressors = nn.ModuleList(_regressor(features, width, dropout) for _ in bins.classes)

    def fit_scale(self, low: Tensor, high: Tensor) -> None:
        """Let every regressor start from, and count in, the mean and deviation of its bin's training labels."""
        bin_numbers, counted = self._bins_of(low, high)
        for number in range(len(self.starts)):
            levels = ((low + high) / 2)[counted & (bin_numbers == number)]
            if len(levels) > 1:
                self.centres[number] = levels.mean()
                self.scales[number] = levels.std().clamp(min=0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return the level that each bin's regressor says, n x bins."""
        said = torch.cat([regressor(features) for regressor in self.regressors], dim=1).float()
        return self.centres + self.scales * said

    def answers(self, logits: Tensor) -> Tensor:
        """Return what the regressors say, kept inside their bins: float32, n x bins."""
        return logits.float().clamp(self.starts, self.ends)

    def probabilities(self, logits: Tensor, companion: Tensor | None = None) -> Tensor:
        """Return the distribution over the levels, float32, n x K: each regressor's answer, kept inside its bin,
        between its two nearest levels, so that the mean level is the answer itself."""
        weights = _required(companion).float().softmax(dim=1)
        if self.mix == "hard":
            weights = nn.functional.one_hot(weights.argmax(dim=1), weights.shape[1]).float()
        levels = torch.arange(self.lowest, self.highest + 1, device=logits.device, dtype=torch.float32)
        said = self.answers(logits)
        near = (1 - (said[:, :, None] - levels).abs()).clamp(min=0)
        return (weights[:, :, None] * near).sum(dim=1)

    def losses(
        self, logits: Tensor, labels: tuple[Tensor, ...], companion: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Distance of the own bin's regressor from the label; with ``soft``, of the mixture's mean too."""
        low, high = labels
        numbers, counted = self._bins_of(low, high)
        own = logits.float().gather(1, numbers[:, None]).squeeze(1)
        loss = interval_loss(own, low, high)
        if self.mix == "soft":
            weights = _required(companion).float().softmax(dim=1)
            mixed = (weights * self.answers(logits)).sum(dim=1)
            loss = loss + interval_loss(mixed, low, high)
        return torch.where(counted, loss, torch.zeros_like(loss)), counted

    def soft_losses(self, logits: Tensor, targets: Tensor, companion: Tensor | None = None) -> Tensor:
        """Distance of each bin's regressor from the mean of the teacher's levels in that bin, as often as the teacher
        takes the bin to be the true one; with ``soft``, of the mixture's mean from the teacher's mean too."""
        levels = torch.arange(self.lowest, self.highest + 1, device=logits.device, dtype=torch.float32)
        inside = (levels >= self.starts[:, None]) & (levels <= self.ends[:, None])
        shares = targets.float() @ inside.T.float()
        means = (targets.float() @ (inside * levels).T) / shares.clamp(min=1e-6)
        loss = (shares * (logits.float() - means).abs()).sum(dim=1)
        if self.mix == "soft":
            weights = _required(companion).float().softmax(dim=1)
            loss = loss + ((weights * self.answers(logits)).sum(dim=1) - targets.float() @ levels).abs()
        return loss

    def _bins_of(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bin of each label, and whether the label lies in one bin; labels that are absent do not."""
        first, last = (
            (torch.bucketize(end.nan_to_num(), self.starts, right=True) - 1).clamp(min=0) for end in (low, high)
        )
        return first, ~torch.isnan(low) & (first == last)


def _regressor(features: int, width: int, dropout: float) -> nn.Sequential:
    last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Dropout(dropout), last)


def _required(companion: Tensor | None) -> Tensor:
    if companion is None:
        raise ValueError("A two-stage head needs its bins' logits.")
    return companion
