"""Training end to end on a very small network: the run folder, learning, early stopping, labels that are missing."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mien.errors import MienError, UsageError
from mien.files import locked_folder
from mien.runs.run_folder import load_run
from mien.tasks import parse_task
from mien.training.module import AttributeTraining
from tests.prepared import name_recipe, write_prepared
from tests.training.tiny import declare, tiny_recipe, write_easy

Run = Callable[..., dict[str, Any]]


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_the_run_folder(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("tensorboard/")} == {
        "recipe.yaml", "tasks.json", "run.json", "history.csv", "curves.png", "augmented.png", "model.safetensors",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt", ".lock",
    }  # fmt: skip
    assert any(name.startswith("tensorboard/events") for name in names)
    info = json.loads((finished / "run.json").read_text())
    assert info["finished"] is True
    assert info["splits"] == {"train": 64, "val": 16}
    assert (info["seed"], info["epochs"], info["tasks"]) == (3, 3, ["age", "gender", "ethnicity"])
    assert info["data"]["manifest_sha256"] == "ab" * 32
    assert info["backbone_weights"] == "random"
    assert info["versions"]["torch"] == torch.__version__


def test_each_epoch_is_told_and_the_best_one_kept(finished: Path) -> None:
    rows, info = history(finished), json.loads((finished / "run.json").read_text())
    assert [(row["epoch"], row["size"]) for row in rows] == [(1, 16), (2, 32), (3, 32)]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    best = max(rows, key=lambda row: row["val/score"])
    assert info["best_epoch"] == best["epoch"]
    assert info["validation"]["score"] == best["val/score"]
    # Lightning counts epochs from 0.
    assert checkpoint(finished, "best")["epoch"] == best["epoch"] - 1
    assert checkpoint(finished, "last")["epoch"] == 2


def test_it_learns_an_easy_problem(finished: Path) -> None:
    rows = history(finished)
    for name in ("train/loss", "train/loss_age", "train/loss_gender", "val/loss"):
        assert rows[-1][name] < 0.95 * rows[0][name], name
    assert rows[-1]["val/gender_accuracy"] >= 0.9
    assert rows[-1]["val/age_mae"] < rows[0]["val/age_mae"]


def test_the_finished_network_is_the_best_checkpoint_and_can_be_loaded(finished: Path, data: Path) -> None:
    weights, state = load_file(finished / "model.safetensors"), checkpoint(finished, "best")["state_dict"]
    for name, value in weights.items():
        assert torch.equal(value, state[f"network.{name}"]), name
    run = load_run(finished)
    assert not run.network.training
    assert (run.name, run.size, [task.name for task in run.tasks]) == ("tiny", 32, ["age", "gender", "ethnicity"])
    crops = np.load(data / "crops.npy")[64::2].transpose(0, 3, 1, 2)
    # The rows 64, 66, ... are even, so their faces are male: the loaded network reproduces the validation figure.
    accuracy = (run.predict(crops)["gender"].argmax(axis=1) == 0).mean()
    assert accuracy == pytest.approx(run.info["validation"]["gender_accuracy"], abs=1e-6)


def test_the_augmented_page(finished: Path) -> None:
    with Image.open(finished / "augmented.png") as page:
        assert page.size == (10 * 32, 8 * 32)


def test_the_same_seed_gives_the_same_weights(finished: Path, run_tiny: Run, tmp_path: Path) -> None:
    run_tiny()
    first, again = load_file(finished / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.fixture
def falling_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each validation finds a worse score than the one before."""
    scores = count(0, -1)
    monkeypatch.setattr(
        "mien.training.module.validation_figures", lambda tasks, seen, sources: {"val/score": float(next(scores))}
    )


def test_every_epoch_rewrites_the_last_checkpoint_even_where_nothing_improves(
    falling_scores: None, run_tiny: Run, tmp_path: Path
) -> None:
    """A run that got worse once lost its later epochs at a kill, when only better epochs were kept."""
    result = run_tiny("stages=[{size: 16, epochs: 3}]")
    assert result["best_epoch"] == 1
    assert checkpoint(tmp_path / "run", "best")["epoch"] == 0
    last = checkpoint(tmp_path / "run", "last")
    assert (last["epoch"], last["global_step"]) == (2, 12)


def test_early_stopping_and_a_resume_that_has_nothing_to_do(
    falling_scores: None, run_tiny: Run, tmp_path: Path
) -> None:
    settings = ("stages=[{size: 16, epochs: 9}]", "patience=2")
    assert run_tiny(*settings)["epochs"] == 3  # the first, and two that are no better
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    resumed = run_tiny(*settings, resume=True)
    assert (resumed["epochs"], resumed["finished"]) == (3, True)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_number_formats_and_weightings(run_tiny: Run, tmp_path: Path, precision: str, weighting: str) -> None:
    stage = "stages=[{size: 32, epochs: 1}]"
    run_tiny(stage, f"precision={precision}", f"loss.weighting={weighting}", "ema_decay=0.9")
    row = history(tmp_path / "run")[0]
    assert all(math.isfinite(value) for value in row.values())
    assert (row["weight/age"] == 0.1) is (weighting == "fixed")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights.values())


def test_a_training_that_diverges_stops_and_keeps_the_last_good_epoch(
    run_tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = AttributeTraining.task_losses

    def spoilt(module: AttributeTraining, *rest: Any) -> dict[str, torch.Tensor]:
        factor = math.nan if module.current_epoch == 1 else 1.0
        return {name: factor * loss for name, loss in original(module, *rest).items()}

    monkeypatch.setattr(AttributeTraining, "task_losses", spoilt)
    with pytest.raises(MienError, match=r"diverged in epoch 2: train/loss must be a finite number\. Try a lower"):
        run_tiny()
    assert [row["epoch"] for row in history(tmp_path / "run")] == [1]
    state = checkpoint(tmp_path / "run", "last")["state_dict"]
    assert all(torch.isfinite(value).all() for value in state.values())


def test_declared_tasks_and_tasks_that_almost_nobody_has(run_tiny: Run, tmp_path: Path) -> None:
    """Most batches hold no label of ``smile`` and ``glasses`` at all."""
    folder, n = write_easy(tmp_path / "data"), 96
    smile, glasses = parse_task("smile=ordinal:-1-3"), parse_task("glasses=nominal:no,yes")
    rare = np.arange(n) % 40 == 0
    level = [float(row % 5 - 1) if rare[row] else None for row in range(n)]
    declare(
        folder,
        {
            smile: {"smile_low": level, "smile_high": level},
            glasses: {"glasses": [("no", "yes")[row % 2] if rare[row] else None for row in range(n)]},
        },
    )
    result = run_tiny("tasks=[glasses, smile, gender]", "loss={}", "stages=[{size: 16, epochs: 2}]", folder=folder)
    assert result["tasks"] == ["gender", "smile", "glasses"]  # in the data's order
    rows = history(tmp_path / "run")
    assert all(math.isfinite(value) for row in rows for value in row.values())
    run = load_run(tmp_path / "run")
    outputs = run.predict(np.load(folder / "crops.npy")[:2].transpose(0, 3, 1, 2))
    assert {name: output.shape for name, output in outputs.items()} == {
        "gender": (2, 2), "smile": (2, 5), "glasses": (2, 2),
    }  # fmt: skip


def test_a_task_without_any_label_is_left_out_of_the_score(run_tiny: Run, tmp_path: Path) -> None:
    folder = write_easy(tmp_path / "data")
    glasses = parse_task("glasses=nominal:no,yes")
    declare(folder, {glasses: {"glasses": [None] * 96}})
    run_tiny("tasks=[glasses, gender]", "loss={}", "stages=[{size: 16, epochs: 1}]", folder=folder)
    row = history(tmp_path / "run")[0]
    assert "val/glasses_accuracy" not in row
    assert row["train/loss_glasses"] == 0
    assert row["val/score"] == row["val/gender_f1"]


def test_folds(run_tiny: Run, tmp_path: Path) -> None:
    import pandas as pd

    folder = write_prepared(tmp_path / "data", n=60, size=16)
    manifest = pd.read_parquet(folder / "manifest.parquet")
    manifest["split"] = [f"fold{row % 3}" for row in range(60)]
    manifest.to_parquet(folder / "manifest.parquet")
    stage = "stages=[{size: 16, epochs: 1}]"
    with pytest.raises(UsageError, match="give a fold"):
        run_tiny(stage, folder=folder)
    result = run_tiny(stage, folder=folder, fold=2)
    assert (result["fold"], result["splits"]) == (2, {"train": 20, "val": 20})
    with pytest.raises(UsageError, match="another fold"):
        run_tiny(stage, folder=folder, fold=1, resume=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tasks=[age, smile]", "loss={}"], "Unknown task smile; known here: age, gender, ethnicity"),
        (["model.backbone=resnet19"], "timm has no backbone"),
    ],
)
def test_what_fails_at_the_start_leaves_nothing_in_the_way(
    run_tiny: Run, tmp_path: Path, settings: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        run_tiny(*settings)
    assert run_tiny("stages=[{size: 16, epochs: 1}]")["finished"]


def test_folders_that_are_taken(finished: Path, data: Path, tmp_path: Path) -> None:
    from mien.training.train import train

    with pytest.raises(UsageError, match="pass --resume"):
        train(tiny_recipe(), data, finished)
    with pytest.raises(UsageError, match="another recipe: seed, batch_size differ"):
        train(tiny_recipe("seed=4", "batch_size=8"), data, finished, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="has other files in it"):
        train(tiny_recipe(), data, tmp_path)
    with pytest.raises(UsageError, match=r"must be a folder, got the file .*notes\.txt"):
        train(tiny_recipe(), data, tmp_path / "notes.txt")
    with pytest.raises(MienError, match="Cannot make the folder"):
        train(tiny_recipe(), data, tmp_path / "notes.txt" / "run")
    with locked_folder(finished), pytest.raises(UsageError, match="Another mien is at work"):
        train(tiny_recipe(), data, finished, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_other_data_cannot_go_on_with_a_run(finished: Path, tmp_path: Path) -> None:
    from mien.training.train import train

    other = write_easy(tmp_path / "data")
    info = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**info, "manifest_sha256": "cd" * 32}))
    with pytest.raises(UsageError, match="started with other data"):
        train(tiny_recipe(), other, finished, resume=True)


def test_crops_of_another_recipe_cannot_go_on_with_a_run(finished: Path, data: Path, tmp_path: Path) -> None:
    """The manifest is the same: only the frame of the crops differs."""
    from mien.training.train import train

    wide = shutil.copytree(data, tmp_path / "wide")
    name_recipe(wide, "five-landmarks-24")
    with pytest.raises(UsageError, match="started with crops made by five-landmarks-37"):
        train(tiny_recipe(), wide, finished, resume=True)


def test_resuming_a_finished_run_changes_nothing(finished: Path, data: Path) -> None:
    from mien.training.train import train

    before = (finished / "model.safetensors").read_bytes()
    old = json.loads((finished / "run.json").read_text())
    new = train(tiny_recipe(), data, finished, resume=True)
    assert (finished / "model.safetensors").read_bytes() == before
    for name in ("epochs", "best_epoch", "validation", "training_seconds", "finished"):
        assert new[name] == old[name], name


def test_a_stage_of_the_backbone_alone_learns_through_the_frozen_heads(
    run_tiny: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first = run_tiny("stages=[{size: 16, epochs: 1}]")
    (tmp_path / "run").rename(tmp_path / "first")
    before = load_run(tmp_path / "first").network
    settings = "stages=[{size: 16, epochs: 1, trains: [backbone]}]"
    result = run_tiny(settings, init_from=tmp_path / "first")
    after = load_run(tmp_path / "run").network
    assert result["validation"]["score"] != first["validation"]["score"]
    assert all(torch.equal(value, after.heads.state_dict()[name]) for name, value in before.heads.state_dict().items())
    assert any(
        not torch.equal(value, after.backbone.get_parameter(name)) for name, value in before.backbone.named_parameters()
    )


def test_the_stem_and_the_first_stages_keep_their_weights(
    run_tiny: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run_tiny("stages=[{size: 16, epochs: 1}]")
    (tmp_path / "run").rename(tmp_path / "first")
    before = load_run(tmp_path / "first").network.backbone.state_dict()
    run_tiny("stages=[{size: 16, epochs: 1}]", "model.frozen={stages: 2}", init_from=tmp_path / "first")
    after = load_run(tmp_path / "run").network.backbone.state_dict()
    kept = {name.split(".")[0] for name, value in before.items() if torch.equal(value, after[name])}
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert kept >= {"conv1", "bn1", "layer1", "layer2"}
    assert changed == {"layer3", "layer4"}


def test_no_backbone_has_more_frozen_stages_than_stages(run_tiny: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match=r"model.frozen.stages must be 0 to 3 for test_resnet, got 4"):
        run_tiny("stages=[{size: 16, epochs: 1}]", "model.frozen={stages: 4}")


def test_heads_of_all_tasks_learn_on_a_frozen_backbone(run_tiny: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run_tiny("stages=[{size: 16, epochs: 1}]")
    (tmp_path / "run").rename(tmp_path / "first")
    before = load_run(tmp_path / "first").network
    settings = ("tasks=[all]", "stages=[{size: 16, epochs: 1, trains: [heads]}]")
    result = run_tiny(*settings, init_from=tmp_path / "first")
    after = load_run(tmp_path / "run").network
    assert result["tasks"] == ["age", "gender", "ethnicity"]
    backbone = after.backbone.state_dict()
    assert all(torch.equal(value, backbone[name]) for name, value in before.backbone.state_dict().items())
    heads = {
        name: torch.equal(value, after.heads.state_dict()[name]) for name, value in before.heads.state_dict().items()
    }
    assert not any(same for name, same in heads.items() if name.endswith("weight"))
    assert run_tiny(*settings, init_from=tmp_path / "first", resume=True)["epochs"] == 1
