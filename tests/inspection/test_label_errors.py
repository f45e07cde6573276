"""Planted errors are found, their number is about right, and scores are what the formulas say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mien.inspection.label_errors import find_label_errors
from mien.metrics.bootstrap import Sampling
from mien.tasks import AGE, ETHNICITY, Task

SAMPLING = Sampling(resamples=20, seed=0)


def noisy_classes(n: int = 1000, planted: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities that favour the true class, and which labels were changed."""
    generator = np.random.default_rng(0)
    true = generator.integers(0, 5, n)
    logits = generator.normal(0, 1, (n, 5))
    logits[np.arange(n), true] += 4
    output = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    changed = np.zeros(n, np.bool_)
    changed[generator.choice(n, planted, replace=False)] = True
    labels = np.where(changed, (true + generator.integers(1, 5, n)) % 5, true)
    return labels, output.astype(np.float32), changed


def noisy_ages(n: int = 1000, planted: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ages, bell-shaped distributions about the true age, and which ages were moved by 25 years."""
    generator = np.random.default_rng(0)
    true = generator.integers(5, 80, n)
    middle = true + generator.normal(0, 4, n)
    output = np.exp(-0.5 * ((np.arange(117) - middle[:, None]) / 5) ** 2)
    output /= output.sum(axis=1, keepdims=True)
    changed = np.zeros(n, np.bool_)
    changed[generator.choice(n, planted, replace=False)] = True
    return np.where(changed, (true + 25) % 90, true).astype(np.float32), output.astype(np.float32), changed


def test_planted_class_errors_are_found_and_counted() -> None:
    labels, output, changed = noisy_classes()
    found = find_label_errors(ETHNICITY, (labels,), output, SAMPLING)
    assert found.suspect[changed].mean() > 0.7
    assert changed[found.suspect].mean() > 0.9
    assert_allclose(found.score, output[np.arange(len(labels)), labels], rtol=1e-5)
    assert 40 < found.total < 110
    assert all(each.low <= each.expected <= each.high for each in found.expected)


def test_planted_age_errors_are_found_and_counted() -> None:
    ages, output, changed = noisy_ages()
    found = find_label_errors(AGE, (ages, ages), output, SAMPLING)
    assert found.suspect[changed].mean() > 0.9
    assert changed[found.suspect].mean() > 0.9
    assert 45 <= found.total <= 60


def test_an_ordinal_score_is_the_mass_on_the_widened_interval() -> None:
    output = np.random.default_rng(0).dirichlet(np.ones(117), 40).astype(np.float32)
    low, high = np.full(40, 20, np.float32), np.full(40, 29, np.float32)
    found = find_label_errors(AGE, (low, high), output, SAMPLING)
    assert_allclose(found.score, output[:, 11:39].sum(axis=1), rtol=1e-4)


def test_levels_may_begin_anywhere() -> None:
    task = Task(name="mood", kind="ordinal", lowest=-2, highest=2)
    output = np.tile(np.float32([0.05, 0.1, 0.7, 0.1, 0.05]), (60, 1))
    labels = np.zeros(60, np.float32)
    labels[0] = -2
    found = find_label_errors(task, (labels, labels), output, SAMPLING)
    assert found.suspect.tolist() == [True] + [False] * 59
    assert_allclose(found.score[[0, 1]], [0.05, 0.7], rtol=1e-5)
    assert found.suggested[0] == 0


@pytest.mark.parametrize("task", [AGE, ETHNICITY])
def test_faces_without_a_label_have_no_score(task: Task) -> None:
    labels, output, _ = noisy_ages(200) if task is AGE else noisy_classes(200)
    labels[::2] = np.nan if task is AGE else -1
    found = find_label_errors(task, (labels, labels) if task is AGE else (labels,), output, SAMPLING)
    assert np.isnan(found.score[::2]).all() and not np.isnan(found.score[1::2]).any()
    assert not found.suspect[::2].any()


def test_one_class_alone_has_no_errors() -> None:
    found = find_label_errors(ETHNICITY, (np.zeros(30, np.int64),), np.full((30, 5), 0.2, np.float32), SAMPLING)
    assert not found.suspect.any() and found.total == 0
