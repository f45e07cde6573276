"""Cluster misclassified faces by their embeddings.

k-means on standardised embeddings. It always finds the requested number of clusters, so the mean silhouette shows
how far apart they are: near 1 distinct, near 0 parts of one cloud.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from mien.metrics.bootstrap import Estimate, Sampling, estimate
from mien.metrics.functional import mean

Floats = NDArray[np.float64]
#: Initialisations of k-means; the best one is kept.
STARTS = 10


@dataclass(frozen=True, kw_only=True)
class Light:
    """Brightness and contrast of n faces: mean and standard deviation of each face's gray values, 0-255."""

    brightness: Floats
    contrast: Floats

    def take(self, rows: NDArray[np.int64]) -> Light:
        """Return those of some faces."""
        return Light(brightness=self.brightness[rows], contrast=self.contrast[rows])

    def means(self, sampling: Sampling) -> dict[str, Estimate]:
        """Return their means with 95 % intervals: ``brightness`` and ``contrast``."""
        return estimate(
            lambda w: {"brightness": mean(self.brightness, w), "contrast": mean(self.contrast, w)},
            len(self.brightness),
            sampling,
        )


@dataclass(frozen=True, kw_only=True)
class ErrorCluster:
    """One cluster, named by its ``number``. ``true`` and ``predicted``: faces by class, most frequent first;
    ``nearest``: positions of its faces among the misclassified, those closest to its centre first."""

    number: int
    size: int
    true: Mapping[str, int]
    predicted: Mapping[str, int]
    brightness: Estimate
    contrast: Estimate
    nearest: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """The clusters, largest first, or the ``reason`` why there are none.

    ``of_face``: each misclassified face's cluster number, -1 without clusters; ``places``: n x 2, its place on the map;
    ``explained``: the fraction of the embeddings' variance on the map's two axes; ``silhouette``: in [-1, 1].
    """

    clusters: tuple[ErrorCluster, ...]
    of_face: NDArray[np.int64]
    places: Floats
    explained: float | None = None
    silhouette: float | None = None
    reason: str | None = None


def measure_light(crops: NDArray[np.uint8]) -> Light:
    """Return brightness and contrast of crops (uint8, n x 3 x S x S, RGB); gray as in ITU-R BT.601.

    >>> measure_light(np.full((1, 3, 2, 2), 80, np.uint8)).brightness
    array([80.])
    """
    grays = [cv2.cvtColor(np.ascontiguousarray(crop.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY) for crop in crops]
    return Light(
        brightness=np.array([gray.mean() for gray in grays], np.float64),
        contrast=np.array([gray.std() for gray in grays], np.float64),
    )


def cluster_errors(
    embeddings: NDArray[np.floating],
    true: Sequence[str],
    predicted: Sequence[str],
    light: Light,
    *,
    clusters: int,
    sampling: Sampling,
) -> Clustering:
    """Group n misclassified faces by their embeddings (n x features); the order of all arguments is the same."""
    n = len(embeddings)
    nothing = Clustering(clusters=(), of_face=np.full(n, -1, np.int64), places=np.zeros((n, 2)))
    if n == 0:
        return _because(nothing, "No face of this task is misclassified, so there is nothing to cluster.")
    scaled = StandardScaler().fit_transform(np.asarray(embeddings, np.float64))
    distinct = len(np.unique(scaled, axis=0))
    if distinct < clusters:
        count = f"{n} misclassified face{'s' if n > 1 else ''}" + (f" ({distinct} distinct)" if distinct < n else "")
        return _because(nothing, f"Too few errors to cluster: {count} for {clusters} clusters.")
    fitted = KMeans(n_clusters=clusters, n_init=STARTS, random_state=sampling.seed).fit(scaled)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=clusters), kind="stable")
    of_face = np.argsort(order)[fitted.labels_]
    distance = np.linalg.norm(scaled - fitted.cluster_centers_[fitted.labels_], axis=1)
    places, explained = flat_map(scaled)
    return Clustering(
        clusters=tuple(
            _describe(number, np.flatnonzero(of_face == number), true, predicted, light, distance, sampling)
            for number in range(clusters)
        ),
        of_face=of_face.astype(np.int64),
        places=places,
        explained=explained,
        silhouette=float(silhouette_score(scaled, of_face)) if 1 < clusters < n else None,
    )


def _because(clustering: Clustering, reason: str) -> Clustering:
    return Clustering(clusters=(), of_face=clustering.of_face, places=clustering.places, reason=reason)


def _describe(
    number: int,
    rows: NDArray[np.int64],
    true: Sequence[str],
    predicted: Sequence[str],
    light: Light,
    distance: Floats,
    sampling: Sampling,
) -> ErrorCluster:
    means = light.take(rows).means(sampling)
    return ErrorCluster(
        number=number,
        size=len(rows),
        true=dict(Counter(true[row] for row in rows).most_common()),
        predicted=dict(Counter(predicted[row] for row in rows).most_common()),
        brightness=means["brightness"],
        contrast=means["contrast"],
        nearest=tuple(int(row) for row in rows[np.argsort(distance[rows], kind="stable")]),
    )


def flat_map(scaled: Floats) -> tuple[Floats, float]:
    """Return the first two principal components of n x features, n x 2, and their fraction of the variance."""
    wanted = min(2, *scaled.shape)
    if np.allclose(scaled, scaled[0]):
        return np.zeros((len(scaled), 2)), 1.0
    fitted = PCA(n_components=wanted, svd_solver="full")
    places = fitted.fit_transform(scaled)
    padded = np.pad(places, ((0, 0), (0, 2 - wanted)))
    return np.asarray(padded, np.float64), float(fitted.explained_variance_ratio_.sum())
