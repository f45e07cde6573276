"""Export end to end: the bundle answers as torch does, says what it is, and names nothing of the machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from mien.errors import MienError, UsageError
from mien.export import export as room
from mien.export.export import Exported, _backbone_licence, export_run
from mien.export.graph import ParityError, check_parity
from mien.inference.bundle import load_bundle
from mien.inference.metadata import NominalCalibration, OrdinalCalibration
from mien.models.build import build_network
from mien.models.network import ProbabilityNetwork
from mien.runs.run_folder import Run, load_run
from mien.tasks import GENDER
from tests.export.conftest import Trained
from tests.prepared import name_recipe
from tests.training.tiny import tiny_recipe, write_easy


def random_crops(n: int) -> np.ndarray:
    """Each of another colour, dark on one side."""
    random = np.random.default_rng(n)
    shades = np.linspace(0.3, 1, 24)
    return (random.integers(0, 256, (n, 3, 1, 1)) * shades * random.uniform(0.8, 1, (n, 1, 24, 24))).astype(np.uint8)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_bundle_answers_as_torch_does(trained: Trained, exported: Exported, n: int) -> None:
    expected = load_run(trained.run).predict(random_crops(n))
    got = load_bundle(exported.path).run(random_crops(n))
    assert list(got) == ["age", "gender", "ethnicity"]
    for name, output in got.items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4)
    # Different crops get different answers, so that equality says something.
    assert n < 7 or np.abs(np.diff(got["gender"], axis=0)).max() > 1e-3


def test_what_was_measured_is_told(exported: Exported) -> None:
    assert 0 <= exported.difference <= 1e-4
    assert [path.name for path in exported.path.parent.iterdir()] == ["model.onnx"]
    metadata = load_bundle(exported.path).metadata
    assert metadata == exported.metadata
    assert (metadata.name, metadata.size, metadata.crop_size) == ("tiny", 24, 32)
    assert metadata.crop.name == "five-landmarks-30"
    assert "crop recipe `five-landmarks-30`" in metadata.card
    age, gender = metadata.calibration["age"], metadata.calibration["gender"]
    assert isinstance(age, OrdinalCalibration)
    assert isinstance(gender, NominalCalibration)
    assert (age.offset, gender.temperature) != (0.0, 1.0)
    assert metadata.metrics["split"] == "test"
    assert metadata.metrics["n"] == 160
    mae = metadata.metrics["tasks"]["age"]["mae"]
    assert mae["low"] <= mae["value"] <= mae["high"]
    assert metadata.training["recipe"] == "tiny"
    assert metadata.training["seed"] == 3
    assert metadata.training["splits"] == {"train": 64, "val": 160}
    assert metadata.training["data"]["manifest_sha256"] == "ab" * 32


def test_calibrated_intervals_cover_the_validation_faces(trained: Trained, exported: Exported) -> None:
    """On the very faces of the fit the share is at least the coverage, and not much more."""
    from mien.data.dataset import open_dataset
    from mien.inference.postprocess import ordinal_interval
    from mien.tasks import AGE
    from mien.vision.resize import resize_crops

    dataset = open_dataset(trained.data)
    rows = dataset.rows("val")
    low, high = (ends[rows] for ends in dataset.ordinal_labels(AGE))
    exact = low == high
    bundle = load_bundle(exported.path)
    output = bundle.run(resize_crops(np.asarray(dataset.crops[rows]), 24))["age"][exact]
    calibration = bundle.metadata.calibration["age"]
    assert isinstance(calibration, OrdinalCalibration)
    least, most = ordinal_interval(output, AGE, calibration)
    covered = ((least - 1e-3 <= low[exact]) & (low[exact] <= most + 1e-3)).mean()
    assert 0.9 <= covered <= 0.96


def test_the_card_and_the_licences(exported: Exported) -> None:
    card, licences = exported.card, exported.metadata.licences
    assert exported.metadata.card == card
    assert licences["code"] == "Apache-2.0"
    assert licences["made-up"] == "none"
    mae = exported.metadata.metrics["tasks"]["age"]["mae"]["value"]
    for words in ("tiny", "Apache-2.0", "made-up", "A very small network on colours", f"{mae:.2f}", "160"):
        assert words in card, words
    # The backbone started at random: no licence of weights applies.
    assert "backbone" not in licences
    assert "ImageNet" not in card


def test_nothing_of_the_machine_is_in_the_file(trained: Trained, exported: Exported) -> None:
    content = exported.path.read_bytes()
    repository = Path(room.__file__).resolve().parents[2]
    for folder in (repository, Path.home(), trained.run.parent, Path(torch.__file__).parent):
        assert str(folder).encode() not in content, folder
    for start in (b"/work/", b"/home/", b"/tmp/", b"/root/", b"site-packages", b"/nowhere"):
        assert start not in content, start
    assert exported.metadata.training["command"] == "mien train tiny --data data --out run"


@pytest.mark.slow
def test_mirrored_answers_are_the_same_for_mirrored_crops(trained: Trained, tmp_path: Path) -> None:
    made = export_run(trained.run, trained.data, tmp_path / "m.onnx", name="both-sides", flip_tta=True)
    assert made.metadata.name == "both-sides"
    assert made.metadata.training["mirrored_too"] is True
    bundle, crops = load_bundle(made.path), random_crops(5)
    outputs, mirrored = bundle.run(crops), bundle.run(np.ascontiguousarray(crops[..., ::-1]))
    expected = ProbabilityNetwork(load_run(trained.run).network, flip_tta=True)(torch.from_numpy(crops))
    for (name, output), wanted in zip(outputs.items(), expected, strict=True):
        np.testing.assert_allclose(output, mirrored[name], atol=1e-6)
        np.testing.assert_allclose(output, wanted.detach().numpy(), atol=1e-4)


def test_a_network_that_differs_from_its_graph_is_refused(
    trained: Trained, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_change(network: ProbabilityNetwork, metadata: Any, path: Path) -> None:
        path.write_bytes(exported.path.read_bytes())
        with torch.no_grad():
            next(network.network.heads["gender"].parameters()).add_(torch.tensor([[0.05], [-0.05]]))

    monkeypatch.setattr(room, "write_graph", write_and_change)
    with pytest.raises(ParityError, match="ONNX and torch disagree on 'gender'"):
        export_run(trained.run, trained.data, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ready_graph(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that was written before, in place of a new one: writing it takes seconds."""
    content = exported.path.read_bytes()
    monkeypatch.setattr(room, "write_graph", lambda network, metadata, path: path.write_bytes(content))


def test_a_failed_export_leaves_an_older_bundle_alone(
    trained: Trained, ready_graph: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"older")
    monkeypatch.setattr(room, "TOLERANCE", -1.0)
    with pytest.raises(ParityError):
        export_run(trained.run, trained.data, tmp_path / "model.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_other_data_are_refused(trained: Trained, tmp_path: Path) -> None:
    other = write_easy(tmp_path / "data")
    info = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**info, "manifest_sha256": "cd" * 32}))
    with pytest.raises(UsageError, match=r"is not the data that .* was trained on"):
        export_run(trained.run, other, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("out", ["model.pt", "model", "folder.onnx"])
def test_out_must_be_an_onnx_file(trained: Trained, tmp_path: Path, out: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match=r"file that ends in \.onnx"):
        export_run(trained.run, trained.data, tmp_path / out)


def test_crops_of_another_recipe_are_refused(trained: Trained, tmp_path: Path) -> None:
    """The manifest is the same: only the frame of the crops differs."""
    other = shutil.copytree(trained.data, tmp_path / "data")
    name_recipe(other, "five-landmarks-37")
    with pytest.raises(UsageError, match="trained on crops made by five-landmarks-30"):
        export_run(trained.run, other, tmp_path / "model.onnx")


def test_no_run_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="is no run folder"):
        export_run(tmp_path, trained.data, tmp_path / "model.onnx")


def test_without_a_test_split_the_bundle_has_no_figures(trained: Trained, ready_graph: None, tmp_path: Path) -> None:
    import pandas as pd

    name_recipe(write_easy(tmp_path / "data"), "five-landmarks-30")
    manifest = pd.read_parquet(tmp_path / "data" / "manifest.parquet")
    manifest["split"] = manifest["split"].replace("test", "val")
    manifest.to_parquet(tmp_path / "data" / "manifest.parquet")
    made = export_run(trained.run, tmp_path / "data", tmp_path / "model.onnx")
    assert made.metadata.metrics == {}
    assert "Apache-2.0" in load_bundle(made.path).metadata.card


def test_the_graph_takes_any_number_of_crops(exported: Exported) -> None:
    model = onnx.load(exported.path)
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert dimension.dim_param
    assert not dimension.dim_value
    assert model.producer_name == "mien"
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_parity_by_hand() -> None:
    wanted = {"a": np.float32([[0.5, 0.5]]), "b": np.float32([[0.25, 0.75]])}
    got = {"a": np.float32([[0.5, 0.5]]), "b": np.float32([[0.25 + 2**-12, 0.75 - 2**-12]])}
    assert check_parity(wanted, got, 1e-3) == 2**-12
    with pytest.raises(ParityError, match=r"'b': probabilities differ by up to 2\.44e-04 over 1 crops; at most 1e-04"):
        check_parity(wanted, got, 1e-4)
    with pytest.raises(ParityError):
        check_parity(wanted, {"a": np.float32([[np.nan, 0.5]]), "b": wanted["b"]}, 1e-4)
    assert check_parity({"a": wanted["a"][:0]}, {"a": wanted["a"][:0]}, 1e-4) == 0


@pytest.mark.parametrize(
    ("backbone", "origins", "terms"),
    [
        ("face_mobilenet", "hub", ["HSE_FaceRec_tf"]),
        ("face_mobilenet_narrow", "hub", ["HSE_FaceRec_tf"]),
        ("face_mobilenet_narrow", "random", []),
        ("dlib_resnet+face_mobilenet", "package+hub", ["(dlib): CC0-1.0", "HSE_FaceRec_tf"]),
        ("efficientnet_lite2+face_mobilenet", "package+hub", ["ImageNet", "HSE_FaceRec_tf"]),
        ("test_resnet", "hub", ["test_resnet of timm"]),
    ],
)
def test_the_licence_is_that_of_the_weights_that_a_backbone_began_with(
    backbone: str, origins: str, terms: list[str]
) -> None:
    recipe = tiny_recipe(f"model.backbone={backbone}", "tasks=[gender]", "loss={}")
    network = build_network(recipe, [GENDER])
    run = Run(folder=Path("run"), recipe=recipe, tasks=(GENDER,), network=network, info={"backbone_weights": origins})
    found = _backbone_licence(run).get("backbone", "")
    assert len(found.split("; ")) == max(len(terms), 1)
    assert all(term in found for term in terms)
    assert bool(found) == bool(terms)
