"""Starting from a finished run: what is copied, what starts anew, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.experiments.study import limit_training
from mien.models.build import build_network
from mien.models.network import FaceAttributeNetwork
from mien.runs.run_folder import load_run
from mien.tasks import AGE, ETHNICITY, GENDER
from mien.training.setup import bin_tasks
from mien.training.train import train
from mien.training.warm_start import init_from_run
from mien.vision.resize import resize_crops
from tests.training.tiny import tiny_recipe

Train = Callable[..., dict[str, Any]]


def network(*names: str, backbone: str = "test_resnet") -> FaceAttributeNetwork:
    recipe = tiny_recipe("seed=99", f"model.backbone={backbone}", "loss={}")
    return build_network(recipe, [task for task in (AGE, GENDER, ETHNICITY) if task.name in names])


def test_weights_are_copied(finished: Path, data: Path) -> None:
    new = network("age", "gender", "ethnicity")
    told = init_from_run(new, finished, open_dataset(data), None)
    old = load_run(finished).network.state_dict()
    assert all(torch.equal(value, old[name]) for name, value in new.state_dict().items())
    assert (told["run"], told["new_heads"], told["same_data"]) == ("tiny", [], True)


def test_a_narrow_network_is_made_of_a_wide_one(run_tiny: Train, data: Path, tmp_path: Path) -> None:
    run_tiny("model.backbone=face_mobilenet", "stages=[{size: 32, epochs: 1}]")
    dataset = open_dataset(data)
    crops = torch.from_numpy(resize_crops(np.asarray(dataset.crops[dataset.rows("train")]), 32))
    new = network("age", "gender", "ethnicity", backbone="face_mobilenet_narrow").eval()
    old = load_run(tmp_path / "run").network.eval()
    with torch.no_grad():
        before, wanted = new(crops)["gender"], old(crops)["gender"]
        record = init_from_run(new, tmp_path / "run", dataset, None)
        after = new.eval()(crops)["gender"]
    assert (record["run"], record["new_heads"]) == ("tiny", [])
    assert (after - wanted).abs().mean() < 0.2 * (before - wanted).abs().mean()


@pytest.mark.parametrize("backbone", ["face_mobilenet", "face_mobilenet_narrow", "test_resnet"])
def test_a_network_starts_from_the_one_that_fits_of_joined_ones(
    backbone: str, run_tiny: Train, data: Path, tmp_path: Path
) -> None:
    run_tiny("model.backbone=test_efficientnet+face_mobilenet", "stages=[{size: 32, epochs: 1}]")
    dataset = open_dataset(data)
    crops = torch.from_numpy(resize_crops(np.asarray(dataset.crops[dataset.rows("train")]), 32))
    new = network("age", "gender", "ethnicity", backbone=backbone)
    if backbone == "test_resnet":
        with pytest.raises(UsageError, match="has backbone test_efficientnet\\+face_mobilenet"):
            init_from_run(new, tmp_path / "run", dataset, None)
        return
    record = init_from_run(new, tmp_path / "run", dataset, None)
    joined = load_run(tmp_path / "run").network.eval()
    with torch.no_grad():
        features = joined.features(crops)
        ours, wanted = new.eval()(crops)["gender"], joined(crops)["gender"]
        # The first network's part of the logits, which the one that is taken out does not have.
        head, width = joined.heads["gender"].layers[1], joined.width - network("age", backbone="face_mobilenet").width
        wanted -= features[:, :width] @ head.weight[:, :width].T
        given = (ours - head.bias) / 2 + head.bias
    assert (record["run"], record["new_heads"], new.weights_from) == ("tiny", [], "random")
    assert (given - wanted).abs().mean() < (0.3 if "narrow" in backbone else 1e-4) * wanted.std()


def test_a_head_that_the_run_lacks_starts_anew(finished: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    tasks = json.loads((folder / "tasks.json").read_text())
    # The same network under another name of its last head: what was learned for it is of no use.
    tasks[2]["name"] = "other"
    (folder / "tasks.json").write_text(json.dumps(tasks))
    recipe = (folder / "recipe.yaml").read_text().replace("- ethnicity", "- other")
    (folder / "recipe.yaml").write_text(recipe)
    weights = folder / "model.safetensors"
    state = {name.replace("heads.ethnicity", "heads.other"): value for name, value in load_file(weights).items()}
    save_file(state, weights)
    new = network("age", "ethnicity")
    before = new.heads["ethnicity"].layers[1].weight.clone()
    assert init_from_run(new, folder, open_dataset(data), None)["new_heads"] == ["ethnicity"]
    assert torch.equal(new.heads["ethnicity"].layers[1].weight, before)
    assert torch.equal(new.heads["age"].layers[1].weight, state["heads.age.layers.1.weight"])


def test_a_head_of_other_classes_starts_anew(finished: Path, data: Path) -> None:
    """As many classes in another order: what the head says of its first class is not what ours means by it."""
    turned = replace(GENDER, classes=GENDER.classes[::-1])
    new = build_network(tiny_recipe("seed=99", "tasks=[age, gender]"), [AGE, turned])
    before = new.heads["gender"].layers[1].weight.clone()
    assert init_from_run(new, finished, open_dataset(data), None)["new_heads"] == ["gender"]
    assert torch.equal(new.heads["gender"].layers[1].weight, before)


def test_regressors_of_other_bins_start_anew(run_tiny: Train, data: Path, tmp_path: Path) -> None:
    settings = "tasks=[age_bin, age]", "loss={}", "model.heads={age: {kind: two_stage, bins: age_bin}}"
    run_tiny(*settings, "bins={age_bin: {of: age, edges: [16, 53]}}", "stages=[{size: 16, epochs: 1}]")
    dataset = open_dataset(data)
    for edges, anew in (([16, 53], []), ([20, 53], ["age", "age_bin"])):
        recipe = tiny_recipe(*settings, f"bins={{age_bin: {{of: age, edges: {edges}}}}}")
        new = build_network(recipe, [*bin_tasks(recipe, dataset), AGE])
        assert init_from_run(new, tmp_path / "run", dataset, None)["new_heads"] == anew
        assert new.head("age").starts.tolist() == [0, *edges]


def test_a_head_of_another_kind_starts_anew(finished: Path, data: Path) -> None:
    """CORN has as many numbers as the default head, each under the condition that the one before it is passed."""
    new = build_network(tiny_recipe("seed=99", "model.heads={age: {kind: corn}}"), [AGE, GENDER, ETHNICITY])
    assert init_from_run(new, finished, open_dataset(data), None)["new_heads"] == ["age"]


def test_another_backbone_is_refused(finished: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="has backbone test_resnet"):
        init_from_run(network("age", backbone="test_vit"), finished, open_dataset(data), None)


def test_another_fold_is_refused(finished: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="learned from test faces of fold 1"):
        init_from_run(network("age"), finished, open_dataset(data), 1)


def test_other_data_is_said(finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(data, tmp_path / "other")
    info = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**info, "manifest_sha256": "cd" * 32}))
    assert init_from_run(network("age"), finished, open_dataset(other), None)["same_data"] is False
    assert "trained on other data" in " ".join(capsys.readouterr().err.split())


def test_a_run_that_goes_on_from_another(finished: Path, data: Path, run_tiny: Train, tmp_path: Path) -> None:
    settings = "stages=[{size: 32, epochs: 1}]", "optimiser.learning_rate=1e-9"
    info = run_tiny(*settings, init_from=finished)
    assert info["started_from"]["run"] == "tiny"
    assert info["backbone_weights"] == "random"
    first = json.loads((finished / "run.json").read_text())
    # It begins with what the first run knew: one epoch at no rate changes little.
    assert info["validation"]["score"] == pytest.approx(first["validation"]["score"], abs=0.25)
    assert info["validation"]["gender_accuracy"] > 0.9
    with pytest.raises(UsageError, match="started from other weights"):
        run_tiny(*settings, resume=True)


def test_regressors_that_are_taken_over_count_in_what_they_learned_from(
    run_tiny: Train, data: Path, tmp_path: Path
) -> None:
    settings = "tasks=[age_bin, age]", "loss={}", "model.heads={age: {kind: two_stage, bins: age_bin}}"
    bins, short = "bins={age_bin: {of: age, edges: [16, 53]}}", "stages=[{size: 16, epochs: 1}]"
    run_tiny(*settings, bins, short)
    first = load_run(tmp_path / "run").network.head("age")
    recipe = tiny_recipe(*settings, bins, short, "optimiser.learning_rate=1e-9")
    train(recipe, data, tmp_path / "on", init_from=tmp_path / "run", relabel=lambda data: limit_training(data, 24))
    again = load_run(tmp_path / "on").network.head("age")
    assert torch.equal(again.centres, first.centres)
    assert torch.equal(again.scales, first.scales)
