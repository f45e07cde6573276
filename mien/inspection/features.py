"""Compute the backbone's features of crops: what the linear heads are fitted on, and what outliers are measured in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.data.dataset import PreparedDataset
from mien.memory import keep_freed_memory
from mien.models.network import FaceAttributeNetwork, NetworkShape
from mien.progress import track
from mien.runs.from_bundle import load_trained
from mien.vision.resize import resize_crops

#: The backbone of ImageNet weights that is used where no model is named, and the side of its crops.
BACKBONE, SIZE = "efficientnet_lite0", 128
_BATCH = 128

Features = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network whose ``features`` are used, its crops' side in pixels, and its name for the report."""

    network: FaceAttributeNetwork
    size: int
    name: str


def open_backbone(model: Path | None, dataset: PreparedDataset) -> Backbone:
    """Return the backbone of a run or bundle, or without one that of ImageNet weights."""
    keep_freed_memory()
    if model is not None:
        run = load_trained(model, dataset, to_train=False)
        return Backbone(network=run.network, size=run.size, name=run.name)
    network = FaceAttributeNetwork(NetworkShape(backbone=BACKBONE, pretrained=True), ())
    name = f"{BACKBONE}, {'random' if network.weights_from == 'random' else 'ImageNet'} weights"
    return Backbone(network=network.eval(), size=SIZE, name=name)


def compute_features(backbone: Backbone, dataset: PreparedDataset, rows: NDArray[np.int64]) -> Features:
    """Return the features of these rows' crops, float32, n x d."""
    starts = range(0, len(rows), _BATCH)
    parts = []
    with torch.inference_mode():
        for start in track(starts, "Features", unit="batches"):
            crops = resize_crops(np.asarray(dataset.crops[rows[start : start + _BATCH]]), backbone.size)
            parts.append(backbone.network.features(torch.from_numpy(crops)).float().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, backbone.network.width), np.float32)
