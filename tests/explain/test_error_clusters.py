"""Error clustering on points whose groups are plain to see."""

import numpy as np
import pytest

from mien.explain.error_clusters import Clustering, Light, cluster_errors, flat_map, measure_light
from mien.metrics.bootstrap import Sampling

SAMPLING = Sampling(resamples=50, seed=1)
#: Three groups far apart, of 2, 5 and 3 points; the middle of each comes last.
POINTS = np.array(
    [[0.0, 0], [0, 0.2], [10, 0], [10.2, 0], [9.8, 0], [10, 0.2], [10, 0.05], [0, 10], [0.4, 10], [0.2, 10]]
)
TRUE = ["white"] * 2 + ["indian"] * 4 + ["other"] + ["asian"] * 3
SAID = ["black"] * 2 + ["white"] * 5 + ["black", "white", "black"]


def grouped(points: np.ndarray, clusters: int) -> Clustering:
    n = len(points)
    light = Light(brightness=10.0 * np.arange(n), contrast=np.full(n, 7.0))
    return cluster_errors(points, TRUE[:n], SAID[:n], light, clusters=clusters, sampling=SAMPLING)


def test_groups_that_are_plain_to_see() -> None:
    found = grouped(POINTS, 3)
    assert found.reason is None
    assert [cluster.size for cluster in found.clusters] == [5, 3, 2]
    assert found.of_face.tolist() == [2, 2, 0, 0, 0, 0, 0, 1, 1, 1]
    first, second, third = found.clusters
    assert dict(first.true) == {"indian": 4, "other": 1}
    assert dict(second.predicted) == {"black": 2, "white": 1}
    assert third.brightness.value == 5  # (0 + 10) / 2
    assert third.brightness.n == 2
    assert first.contrast.value == 7
    assert second.nearest[0] == 9
    assert sorted(first.nearest) == [2, 3, 4, 5, 6]
    assert found.silhouette is not None
    assert found.silhouette > 0.9
    assert found.places.shape == (10, 2)
    assert found.explained == pytest.approx(1)


def test_one_cloud_has_a_low_silhouette() -> None:
    cloud = np.random.default_rng(0).normal(size=(10, 30))
    assert 0 < (grouped(cloud, 3).silhouette or 1) < 0.2


def test_the_seed_decides() -> None:
    cloud = np.random.default_rng(0).normal(size=(10, 30))
    np.testing.assert_array_equal(grouped(cloud, 3).of_face, grouped(cloud, 3).of_face)


@pytest.mark.parametrize(("points", "clusters", "words"), [
    (POINTS[:0], 3, "No face of this task is misclassified"),
    (POINTS[:2], 3, "Too few errors to cluster: 2 misclassified faces for 3 clusters."),
    (POINTS[:1], 2, "1 misclassified face for 2 clusters."),
    (np.zeros((6, 4)), 3, r"6 misclassified faces \(1 distinct\) for 3 clusters"),
])  # fmt: skip
def test_too_few_errors_are_a_sentence(points: np.ndarray, clusters: int, words: str) -> None:
    found = grouped(points, clusters)
    assert not found.clusters
    assert found.of_face.tolist() == [-1] * len(points)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.reason)


@pytest.mark.parametrize("n", [1, 2])
def test_as_many_clusters_as_errors(n: int) -> None:
    found = grouped(POINTS[:n], n)
    assert [cluster.size for cluster in found.clusters] == [1] * n
    assert found.silhouette is None
    assert found.clusters[0].brightness.low is None
    assert np.isfinite(found.places).all()


def test_points_on_a_line_need_one_axis() -> None:
    places, explained = flat_map(np.array([[0.0, 0, 0], [1, 1, 1], [3, 3, 3]]))
    assert explained == pytest.approx(1)
    distances = np.abs(np.diff(places[:, 0]))
    np.testing.assert_allclose(distances, [np.sqrt(3), 2 * np.sqrt(3)])
    np.testing.assert_allclose(places[:, 1], 0, atol=1e-9)


def test_brightness_and_contrast() -> None:
    crops = np.zeros((2, 3, 4, 4), np.uint8)
    crops[0, :, :, :2] = 100  # half 100, half 0: mean 50, deviation 50
    crops[1, 0] = 255  # pure red is 0.299 x 255 = 76 grey
    light = measure_light(crops)
    assert light.brightness.tolist() == [50, 76]
    assert light.contrast.tolist() == [50, 0]
    assert light.take(np.array([1])).means(SAMPLING)["brightness"].value == 76
    assert measure_light(crops[:0]).brightness.shape == (0,)
