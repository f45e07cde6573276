"""How often each face is drawn: by class, by age band, by data set."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mien.data.dataset import PreparedDataset, open_dataset
from mien.errors import UsageError
from mien.evaluation.model_on_data import open_on_data
from mien.recipes.recipe import SamplerRecipe
from mien.tasks import AGE_BANDS
from mien.training.batches import BatchOrder
from mien.training.sampling import drawing_chances, draws_an_epoch, share_sources
from mien.training.train import train
from mien.training.warm_start import trained_licences
from tests.training.tiny import tiny_recipe, write_easy


@pytest.fixture
def two_sources(tmp_path: Path) -> Path:
    """96 faces, every fifth of one data set and the others of another."""
    folder = write_easy(tmp_path / "data")
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest["source"] = np.where(np.arange(96) % 5 == 0, "small", "large")
    manifest.to_parquet(folder / "manifest.parquet")
    info = json.loads((folder / "dataset.json").read_text())
    info["sources"] = [{"name": name, "licence": f"terms of {name}"} for name in ("small", "large")]
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def chances_of(dataset: PreparedDataset, *settings: str) -> np.ndarray:
    found = drawing_chances(tiny_recipe(*settings), dataset, dataset.tasks, dataset.rows("train"))
    assert found is not None
    assert found.sum() == pytest.approx(1)
    return found


def test_sources_get_their_shares(two_sources: Path) -> None:
    dataset = open_dataset(two_sources)
    small = (dataset.manifest["source"].iloc[dataset.rows("train")] == "small").to_numpy()
    chances = chances_of(dataset, "sampler={sources: {small: 3, large: 1}}")
    assert chances[small].sum() == pytest.approx(0.75)
    assert len(set(chances[small].round(9))) == 1


def test_classes_are_balanced_within_each_source(two_sources: Path) -> None:
    dataset = open_dataset(two_sources)
    rows = dataset.rows("train")
    small = (dataset.manifest["source"].iloc[rows] == "small").to_numpy()
    settings = "sampler={balance: [gender], power: 1, sources: {small: 1, large: 1}}"
    chances, genders = chances_of(dataset, settings), dataset.nominal_labels(dataset.tasks[1])[rows]
    assert chances[small].sum() == pytest.approx(0.5)
    alone = chances_of(dataset, "sampler={balance: gender, power: 1}")
    # The same faces are favoured as without sources.
    np.testing.assert_allclose(chances[small] / chances[small].sum(), alone[small] / alone[small].sum())
    for number in (-1, 0, 1):
        assert alone[genders == number].sum() == pytest.approx(1 / 3)


def test_ages_are_balanced_by_band(two_sources: Path) -> None:
    dataset = open_dataset(two_sources)
    chances = chances_of(dataset, "sampler={balance: [age], power: 1}")
    low, high = (ends[dataset.rows("train")] for ends in dataset.ordinal_labels(dataset.tasks[0]))
    middles = (low + high) / 2
    sums = [chances[(middles >= first) & (middles < last + 1)].sum() for first, last in AGE_BANDS]
    present = [total for total in sums if total]
    assert present == pytest.approx([1 / len(present)] * len(present))


@pytest.mark.parametrize("shares", [{"small": 1.0}, {"small": 1.0, "large": 1.0, "other": 1.0}])
def test_a_source_left_out_or_unknown_is_an_error(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="the training faces come from large, small"):
        share_sources(np.ones(2), ["small", "large"], shares)


def test_an_epoch_draws_as_many_faces_as_the_recipe_says() -> None:
    assert draws_an_epoch(None, 70) == draws_an_epoch(SamplerRecipe(), 70) == 70
    assert draws_an_epoch(SamplerRecipe(faces=32), 70) == 32
    order = BatchOrder(np.arange(70), 16, seed=0, chances=np.ones(70), draws=32)
    assert [len(batch) for batch in order] == [16, 16]
    assert len(order) == 2


def test_a_training_on_two_sources_tells_their_figures_apart(two_sources: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe("stages=[{size: 16, epochs: 1}]", "sampler={sources: {small: 1, large: 1}, faces: 48}")
    train(recipe, two_sources, tmp_path / "run")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert {"val/age_mae", "small/age_mae", "large/gender_accuracy", "large/score"} <= set(history.columns)
    dataset = open_dataset(two_sources)
    small = (dataset.manifest["source"].iloc[dataset.rows("val")] == "small").mean()
    mixed = small * history["small/ethnicity_accuracy"] + (1 - small) * history["large/ethnicity_accuracy"]
    assert history["val/ethnicity_accuracy"][0] == pytest.approx(mixed[0], abs=1e-5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is True


def test_a_recipe_may_leave_data_sets_out(two_sources: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe("stages=[{size: 16, epochs: 1}]", "sources=[large]")
    info = train(recipe, two_sources, tmp_path / "run")
    whole, large = open_dataset(two_sources), open_dataset(two_sources, sources=["large"])
    for split in ("train", "val", "test"):
        rows = whole.rows(split)
        kept = rows[(whole.manifest["source"].iloc[rows] == "large").to_numpy()]
        assert large.rows(split).tolist() == kept.tolist()
    assert info["splits"] == {"train": len(large.rows("train")), "val": len(large.rows("val"))}
    assert trained_licences(info) == {"large": "terms of large"}
    with pytest.raises(UsageError, match="no source huge; it has large, small"):
        open_dataset(two_sources, sources=["huge"])


def test_what_an_earlier_run_learned_from_stays_in_the_licences(two_sources: Path, tmp_path: Path) -> None:
    short = ("stages=[{size: 16, epochs: 1}]",)
    train(tiny_recipe(*short, "sources=[small]"), two_sources, tmp_path / "first")
    info = train(tiny_recipe(*short, "sources=[large]"), two_sources, tmp_path / "second", init_from=tmp_path / "first")
    assert trained_licences(info) == {"small": "terms of small", "large": "terms of large"}


def test_a_run_is_calibrated_on_its_own_sources(
    two_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    fit = "mien.evaluation.fit_calibration.fit_calibration"
    monkeypatch.setattr(fit, lambda model, data, class_offsets: asked.append(data) or {})
    train(tiny_recipe("stages=[{size: 16, epochs: 1}]", "sources=[small]"), two_sources, tmp_path / "run")
    model, dataset = open_on_data(tmp_path / "run", two_sources, None)
    assert model.calibration == {}
    assert len(dataset.rows("test")) == 16
    assert [len(data.rows("val")) for data in asked] == [len(open_dataset(two_sources, sources=["small"]).rows("val"))]
