"""Made-up predictions and prepared data for the evaluation tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mien.evaluation.predictions import predicted_columns
from mien.inference.metadata import NominalCalibration
from mien.metrics.about import About, CalibrationRecord
from mien.metrics.predictions_table import Predictions
from mien.tasks import AGE, ETHNICITY, GENDER
from tests.prepared import write_prepared


@pytest.fixture
def made_up() -> Callable[..., Predictions]:
    """`made_up(n, seed)`: a plausible table of n faces with exact ages, gender and ethnicity."""

    def make(n: int = 300, seed: int = 0) -> Predictions:
        generator = np.random.default_rng(seed)
        age = generator.integers(1, 90, n).astype(np.float32)
        said = np.clip(age + generator.normal(0, 6, n), 0, 116).astype(np.float32)
        columns: dict[str, object] = {
            "name": [f"{index}.jpg" for index in range(n)],
            "source": ["made-up"] * n,
            "split": ["test"] * n,
            "age_true": age,
            "age_true_low": age,
            "age_true_high": age,
            "age_pred": said,
            "age_low": np.clip(said - 10, 0, 116),
            "age_high": np.clip(said + 10, 0, 116),
        }
        for task in (GENDER, ETHNICITY):
            true = generator.integers(0, len(task.classes), n)
            logits = generator.normal(0, 1, (n, len(task.classes)))
            logits[np.arange(n), true] += 2
            chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            columns[f"{task.name}_true"] = [task.classes[index] for index in true]
            columns |= predicted_columns(task, NominalCalibration(abstain_below=0.5), chances)
        tasks = (AGE, GENDER, ETHNICITY)
        about = About(model="made-up", split="test", calibration={"age": CalibrationRecord(coverage=0.9)})
        return Predictions(frame=pd.DataFrame(columns), tasks=tasks, labelled=tasks, about=about)

    return make


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A small prepared folder; see `tests.prepared`."""
    return write_prepared(tmp_path / "data")
