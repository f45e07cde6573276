"""Check whether Grad-CAM maps depend on the weights of the network.

Adebayo et al., "Sanity checks for saliency maps" (2018): maps of a network with randomised weights should differ
from those of the trained one. Similarity is Spearman's rank correlation. The reference is what a stable map reaches:
the map of the horizontally flipped face, flipped back.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from mien.explain.saliency import MapLayer, saliency_maps
from mien.metrics.bootstrap import Estimate, Sampling, estimate
from mien.metrics.functional import mean
from mien.models.network import FaceAttributeNetwork
from mien.tasks import Task

#: What each face's trained map is compared with, in the order of the report.
COMPARISONS = ("mirrored", "other_face", "heads", "all_weights")
Maps = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SanityCheck:
    """The check of one task. ``correlations``: per name of `COMPARISONS` the mean over the faces; ``maps``: per name
    float32, n x S x S, and under ``trained`` the maps compared with; ``depends``: None where that is unknown."""

    task: str
    correlations: Mapping[str, Estimate]
    maps: Mapping[str, Maps]
    depends: bool | None
    sentence: str


def check_maps(
    network: FaceAttributeNetwork,
    layer: MapLayer,
    task: Task,
    crops: NDArray[np.uint8],
    classes: NDArray[np.int64] | None,
    sampling: Sampling,
) -> SanityCheck:
    """Compare the maps of these crops (uint8, n x 3 x S x S) of the trained network with those of flipped faces and of
    randomised weights.

    ``classes``: the classes that the trained network predicts; every map of a face is of the same class.
    """
    trained = saliency_maps(network, layer, task, crops, classes)
    flipped = saliency_maps(network, layer, task, crops[..., ::-1], classes)[..., ::-1]
    maps = {"trained": trained, "mirrored": flipped, "other_face": np.roll(trained, 1, axis=0)}
    for name, heads_only in (("heads", True), ("all_weights", False)):
        random = randomised(network, sampling.seed, crops, heads_only=heads_only)
        maps[name] = saliency_maps(random, layer, task, crops, classes)
    correlations = {name: mean_correlation(trained, maps[name], sampling) for name in COMPARISONS}
    if len(crops) < 2:  # The only face's "other face" is itself.
        correlations["other_face"] = Estimate(value=None, low=None, high=None, n=0, reason="one face only")
    depends, sentence = verdict(task.name, correlations["all_weights"], correlations["mirrored"])
    return SanityCheck(task=task.name, correlations=correlations, maps=maps, depends=depends, sentence=sentence)


def randomised(
    network: FaceAttributeNetwork, seed: int, crops: NDArray[np.uint8], *, heads_only: bool = False
) -> FaceAttributeNetwork:
    """Return a copy of the network with random weights, of all modules or of the heads alone.

    The statistics of batch normalisation are measured again on ``crops`` (uint8, n x 3 x S x S) and their horizontal
    flips: with those of other weights activations would vanish before the heads.
    """
    random = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in (random.heads if heads_only else random).modules():
            _randomise(module)
    if not heads_only:
        _measure_normalisation(random, crops)
    return random.eval()


def _randomise(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    # Parameters that no layer owns (scales, tokens): the same values in another order.
    for parameter in module.parameters(recurse=False):
        flat = parameter.data.flatten()
        parameter.data = flat[torch.randperm(len(flat))].view_as(parameter.data)


def _measure_normalisation(network: FaceAttributeNetwork, crops: NDArray[np.uint8]) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms or not len(crops):
        return
    network.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # The plain mean of what it sees.
    with torch.no_grad():
        network.features(torch.from_numpy(np.concatenate([crops, crops[..., ::-1]])))


def rank_correlations(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of each pair of maps (n x S x S each), NaN where a map is the same everywhere.

    >>> rank_correlations(np.array([[[0., 1.], [2., 3.]]], np.float32), np.array([[[0., 1.], [4., 9.]]], np.float32))
    array([1.])
    """
    found = np.full(len(first), np.nan)
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[index] = spearmanr(one.ravel(), other.ravel()).statistic
    return found


def mean_correlation(first: Maps, second: Maps, sampling: Sampling) -> Estimate:
    """Return the mean rank correlation over the faces whose maps are both not constant, with its interval."""
    values = rank_correlations(first, second)
    values = values[np.isfinite(values)]
    found = estimate(lambda w: {"mean": mean(values, w)}, len(values), sampling)["mean"]
    if found.n == 0:
        return Estimate(value=None, low=None, high=None, n=0, reason="every map is empty")
    return found


def verdict(task: str, random: Estimate, reference: Estimate) -> tuple[bool | None, str]:
    """Return whether maps depend on the weights: yes where the interval of random weights lies below the reference's.

    >>> low, high = (Estimate(value=v, low=v - .1, high=v + .1, n=9) for v in (0.1, 0.8))
    >>> verdict("age", low, high)[0]
    True
    """
    if random.high is None or random.low is None or reference.low is None or reference.high is None:
        least = min(random.n, reference.n)
        return None, f"{task}: with {least} comparable faces it is unknown whether the maps depend on the model."
    figures = (
        f"with all weights randomised they correlate with the trained ones by {_text(random)}, "
        f"those of flipped faces by {_text(reference)}"
    )
    if random.high < reference.low:
        return True, f"{task}: the maps depend on the model: {figures}."
    return False, f"{task}: the maps are not shown to depend on the model, do not rely on them: {figures}."


def _text(figure: Estimate) -> str:
    if figure.value is None:
        return "–"
    return f"{figure.value:.2f} (95 % interval {figure.low:.2f} to {figure.high:.2f}, n = {figure.n})".replace("-", "−")
