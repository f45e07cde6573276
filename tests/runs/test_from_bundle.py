"""Going on from a bundle, and being taught by one: the weights come back, and what cannot be read is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mien.data.dataset import open_dataset
from mien.errors import MienError, UsageError
from mien.export.export import export_run
from mien.inference.bundle import load_bundle
from mien.inference.metadata import METADATA_KEY
from mien.models.build import build_network
from mien.runs.from_bundle import load_trained, read_weights
from mien.runs.run_folder import load_run
from mien.tasks import AGE, ETHNICITY, GENDER
from mien.training.distillation import load_teachers
from mien.training.train import train
from mien.training.warm_start import join_runs, trained_licences
from mien.vision.resize import resize_crops
from tests.bundles import write_tiny_bundle
from tests.prepared import name_recipe
from tests.training.tiny import declare, tiny_recipe

Train = Callable[..., dict[str, Any]]
TASKS = (AGE, GENDER, ETHNICITY)
TAUGHT = "distillation={weight: 0.5}"


@pytest.fixture(scope="session")
def bundle(finished: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run as a bundle; not to be changed."""
    return export_run(finished, data, tmp_path_factory.mktemp("bundles") / "finished.onnx").path


@pytest.fixture(scope="session")
def crops(data: Path) -> torch.Tensor:
    """Validation crops as the network takes them."""
    dataset = open_dataset(data)
    return torch.from_numpy(resize_crops(np.asarray(dataset.crops[dataset.rows("val")]), 32))


def change_metadata(path: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write the bundle anew with other metadata."""
    model = onnx.load(path)
    entry = next(value for value in model.metadata_props if value.key == METADATA_KEY)
    told = json.loads(entry.value)
    change(told)
    entry.value = json.dumps(told)
    onnx.save(model, out)
    return out


@pytest.mark.parametrize("to_train", [True, False])
def test_the_network_of_a_bundle_answers_as_the_run(
    to_train: bool, bundle: Path, finished: Path, data: Path, crops: torch.Tensor
) -> None:
    run, original = load_trained(bundle, open_dataset(data), to_train=to_train), load_run(finished)
    assert (run.name, run.size, run.tasks) == (original.name, original.size, original.tasks)
    expected = original.predict(crops.numpy())
    with torch.no_grad():
        network = run.network.eval()
        answers = network.probabilities(network(crops))
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, atol=1e-4)
    has_norms = any(isinstance(module, torch.nn.BatchNorm2d) for module in run.network.modules())
    assert has_norms == to_train


@pytest.mark.slow
def test_a_training_goes_on_from_a_bundle(
    bundle: Path, finished: Path, run_tiny: Train, tmp_path: Path, data: Path
) -> None:
    settings = "stages=[{size: 32, epochs: 1}]", "optimiser.learning_rate=1e-9"
    info = run_tiny(*settings, init_from=bundle)
    first = json.loads((finished / "run.json").read_text())
    assert info["started_from"]["run"] == "tiny"
    assert info["started_from"]["same_data"] is True
    assert info["started_from"]["commit"] == first["commit"]
    assert info["started_from"]["licences"] == trained_licences(first)
    assert info["started_from"]["new_heads"] == []
    # One epoch at no rate: it knows what the bundle knew.
    assert info["validation"]["score"] == pytest.approx(first["validation"]["score"], abs=0.25)
    assert info["validation"]["gender_accuracy"] > 0.9
    # Begun from the same file it goes on; and what it makes is a bundle that says where it comes from.
    run_tiny(*settings, init_from=bundle, resume=True)
    out = export_run(tmp_path / "run", data, tmp_path / "second.onnx").path
    assert load_bundle(out).metadata.training["started_from"]["run"] == "tiny"
    with pytest.raises(UsageError, match="started from other weights"):
        run_tiny(*settings, init_from=finished, resume=True)


@pytest.mark.slow
def test_a_bundle_teaches_without_flip_tta(
    finished: Path, data: Path, run_tiny: Train, tmp_path: Path, crops: torch.Tensor
) -> None:
    dataset = open_dataset(data)
    with_flip = export_run(finished, data, tmp_path / "with-flip.onnx", flip_tta=True).path
    teachers, _ = load_teachers([with_flip], TASKS, dataset, None)
    assert teachers is not None
    whole, alone = load_bundle(with_flip), load_run(finished)
    given, faces = teachers.probabilities(crops.float()), crops.numpy()
    flipped = teachers.probabilities(crops.flip(3).float())
    for name, value in alone.predict(faces).items():
        np.testing.assert_allclose(given[name], value, atol=1e-4)
        np.testing.assert_allclose((given[name] + flipped[name]) / 2, whole.run(faces)[name], atol=1e-5)
    # The module is copied to average its weights; a bundle's session is not.
    info = run_tiny("distillation={weight: 1}", "ema_decay=0.9", "stages=[{size: 16, epochs: 1}]", teachers=[with_flip])
    assert info["validation"]["loss"] > 0


@pytest.mark.slow
def test_joined_networks_are_trained_exported_and_read_back(
    bundle: Path, finished: Path, run_tiny: Train, data: Path, crops: torch.Tensor, tmp_path: Path
) -> None:
    both = "model.backbone=test_resnet+test_resnet"
    initial = build_network(tiny_recipe(both), TASKS)
    join_runs(initial, [finished, bundle], open_dataset(data), None)
    alone = load_run(finished).network
    with torch.no_grad():
        for name, value in alone(crops).items():
            torch.testing.assert_close(initial.eval()(crops)[name], value, rtol=1e-3, atol=1e-3)
    info = run_tiny(both, init_from=finished, join=[bundle])
    assert [run["run"] for run in info["joined_with"]] == ["tiny"]
    joined = load_run(tmp_path / "run").network
    exported = export_run(tmp_path / "run", data, tmp_path / "joined.onnx").path
    read = load_trained(exported, open_dataset(data), to_train=True)
    with torch.no_grad():
        for name, value in joined(crops).items():
            torch.testing.assert_close(read.network.eval()(crops)[name], value, rtol=0.01, atol=0.01)
    told = load_bundle(exported).metadata
    assert told.training["joined_with"][0]["weights_sha256"] == info["joined_with"][0]["weights_sha256"]
    assert "joined with: tiny" in told.card
    with pytest.raises(UsageError, match="pass the --init-from and --join"):
        run_tiny(both, init_from=finished, join=[finished], resume=True)


def test_networks_are_joined_only_where_they_fit(
    bundle: Path, finished: Path, run_tiny: Train, data: Path, tmp_path: Path
) -> None:
    both = "model.backbone=test_resnet+test_resnet"
    with pytest.raises(UsageError, match=r"a recipe whose backbone is test_resnet\+test_resnet, with the tasks"):
        train(tiny_recipe(), data, tmp_path / "a", init_from=finished, join=[bundle])
    normed = tmp_path / "run"
    run_tiny("model.norm=layer")
    with pytest.raises(UsageError, match=r"backbone is test_resnet\+test_resnet"):
        train(tiny_recipe(both), data, tmp_path / "joined", init_from=normed, join=[normed])
    with pytest.raises(UsageError, match="--join needs --init-from"):
        train(tiny_recipe(both), data, tmp_path / "b", join=[bundle])
    with pytest.raises(UsageError, match=r"backbone is test_resnet\+test_resnet"):
        train(tiny_recipe(both, "tasks=[age]", "loss={}"), data, tmp_path / "c", init_from=finished, join=[bundle])


def test_a_task_of_ones_own_begins_with_a_bundles_backbone(
    bundle: Path, data: Path, tmp_path: Path, finished: Path
) -> None:
    from mien.tasks import Task
    from mien.training.train import train
    from tests.training.tiny import write_easy

    own = write_easy(tmp_path / "own")
    glasses = Task(name="glasses", kind="nominal", classes=("no", "yes"))
    declare(own, {glasses: {"glasses": [["no", "yes"][row % 2] for row in range(96)]}})
    settings = ("tasks=[glasses]", "loss={}", "stages=[{size: 32, epochs: 1}]", "optimiser.learning_rate=1e-9")
    info = train(tiny_recipe(*settings), own, tmp_path / "run", init_from=bundle)
    assert info["started_from"]["new_heads"] == ["glasses"]
    learned, new = load_run(finished).network.backbone, load_run(tmp_path / "run").network.backbone
    seen = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(new(seen), learned(seen), rtol=0.05, atol=0.05)


def test_a_bundle_teaches(bundle: Path, finished: Path, run_tiny: Train, data: Path, crops: torch.Tensor) -> None:
    info = run_tiny(TAUGHT, "stages=[{size: 16, epochs: 1}]", teachers=[bundle])
    assert [teacher["run"] for teacher in info["teachers"]] == ["tiny"]
    dataset = open_dataset(data)
    by_bundle, _ = load_teachers([bundle], TASKS, dataset, None)
    by_run, _ = load_teachers([finished], TASKS, dataset, None)
    assert by_bundle is not None
    assert by_run is not None
    expected, got = by_run.probabilities(crops.float()), by_bundle.probabilities(crops.float())
    for name, values in expected.items():
        torch.testing.assert_close(got[name], values, atol=1e-4, rtol=1e-3)


def test_a_teacher_of_other_crops_is_told(
    bundle: Path, finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = shutil.copytree(data, tmp_path / "wide")
    name_recipe(wide, "five-landmarks-24")
    for teacher in (bundle, finished):
        load_teachers([teacher], TASKS, open_dataset(data), None)
        assert "trained on crops" not in capsys.readouterr().err
        load_teachers([teacher], TASKS, open_dataset(wide), None)
        told = " ".join(capsys.readouterr().err.split())
        assert "trained on crops made by five-landmarks-37, and those in" in told


@pytest.mark.slow
def test_an_int8_bundle_is_multiplied_out(
    finished: Path, data: Path, tmp_path: Path, crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What 8 bits cost the tiny network on sixteen faces is not the question here.
    monkeypatch.setattr("mien.export.quantise.ALLOWED_MAE", 1e9)
    monkeypatch.setattr("mien.export.quantise.ALLOWED_ACCURACY", 1.0)
    small = export_run(finished, data, tmp_path / "small.onnx", int8=True).path
    assert any(value.name.endswith("weight_quantized") for value in onnx.load(small).graph.initializer)
    run, original = load_trained(small, open_dataset(data), to_train=True), load_run(finished)
    expected, got = original.predict(crops.numpy()), run.predict(crops.numpy())
    for name, values in expected.items():
        assert np.abs(got[name] - values).sum(axis=1).mean() / 2 < 0.05


def test_a_bundle_that_does_not_say_its_model(bundle: Path, data: Path, tmp_path: Path) -> None:
    """Bundles written before the recipe's model was in their metadata name their backbone alone."""
    older = change_metadata(bundle, tmp_path / "older.onnx", lambda told: told["training"].pop("model"))
    assert load_trained(older, open_dataset(data), to_train=True).recipe.model.backbone == "test_resnet"

    def forget(told: dict[str, Any]) -> None:
        told["training"] = {}

    mute = change_metadata(bundle, tmp_path / "mute.onnx", forget)
    with pytest.raises(MienError, match="does not say what network"):
        load_trained(mute, open_dataset(data), to_train=True)


@pytest.mark.parametrize("name", ["My model", "first_model", "v1.2"])
def test_a_bundle_may_have_any_name(name: str, bundle: Path, data: Path, tmp_path: Path) -> None:
    named = change_metadata(bundle, tmp_path / "named.onnx", lambda told: told.update(name=name))
    teachers, origins = load_teachers([named], TASKS, open_dataset(data), None)
    assert teachers is not None
    assert [origin["run"] for origin in origins] == [name]


def test_a_bundle_may_have_larger_crops_than_trainings_have(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.runs.from_bundle.CROPS", 4)
    large = change_metadata(
        bundle, tmp_path / "large.onnx", lambda told: told["preprocessing"].update(size=528, crop_size=528)
    )
    model = onnx.load(large)
    for side in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 528
    del model.graph.value_info[:]
    onnx.save(model, large)
    assert load_trained(large, open_dataset(data), to_train=False).size == 528


def test_another_fold_of_a_bundle_is_refused(bundle: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="learned from test faces of fold 1"):
        load_teachers([bundle], TASKS, open_dataset(data), 1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "no_such_network"}, "timm has no backbone"),
        ({"backbone": "test_efficientnet"}, "cannot be read back"),
        ({"backbone": "vit_gigantic_patch14_224"}, "name a network of 1,8"),
        ({"backbone": "test_resnet", "dropout": "much"}, "does not say what network"),
        ({"backbone": "test_resnet", "depth": 3}, "does not say what network"),
        ("test_resnet", "training.model"),
    ],
)
def test_a_bundle_of_another_network_is_refused(
    model: Any, words: str, bundle: Path, data: Path, tmp_path: Path
) -> None:
    def lie(told: dict[str, Any]) -> None:
        told["training"]["model"] = model

    wrong = change_metadata(bundle, tmp_path / "wrong.onnx", lie)
    with pytest.raises(MienError, match=words):
        load_trained(wrong, open_dataset(data), to_train=True)


def test_weights_that_are_not_all_are_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    """A weight under the right name that the graph does not use: the network would answer otherwise."""
    model = onnx.load(bundle)
    head = next(value for value in model.graph.initializer if value.name == "network.heads.gender.layers.1.weight")
    used = onnx.TensorProto()
    used.CopyFrom(head)
    used.name = "elsewhere"
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), head.name))
    model.graph.initializer.append(used)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == head.name:
                node.input[place] = "elsewhere"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(MienError, match="answers 'gender' otherwise than the bundle"):
        load_trained(tmp_path / "other.onnx", open_dataset(data), to_train=False)


def test_damaged_weights_are_refused(bundle: Path, tmp_path: Path) -> None:
    """What no node uses ONNX Runtime does not look at."""
    model = onnx.load(bundle)
    for name, value in (
        ("_quantized", np.zeros((4, 2), np.int8)),
        ("_scale", np.ones(3)),
        ("_zero_point", np.zeros(3)),
    ):
        model.graph.initializer.append(numpy_helper.from_array(value, f"network.backbone.conv9.weight{name}"))
    onnx.save(model, tmp_path / "damaged.onnx")
    assert load_bundle(tmp_path / "damaged.onnx").tasks == TASKS
    with pytest.raises(MienError, match=r"'network.backbone.conv9.weight_quantized' is damaged"):
        read_weights(tmp_path / "damaged.onnx")


def test_what_is_no_trained_network_is_refused(data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    with pytest.raises(MienError, match="does not say what network"):
        load_trained(write_tiny_bundle(tmp_path / "tiny.onnx"), dataset, to_train=True)
    with pytest.raises(UsageError, match="Expected a run folder"):
        load_trained(tmp_path / "nothing", dataset, to_train=True)
    with pytest.raises(UsageError, match="Expected a run folder"):
        load_trained(tmp_path / ("x" * 300), dataset, to_train=True)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(MienError):
        load_trained(tmp_path / "text.onnx", dataset, to_train=True)
