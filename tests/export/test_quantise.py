"""int8 bundles: which nodes are quantised, what may be lost, and an export whose answers stay those of float32."""

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from mien.cli.main import app
from mien.data.dataset import open_dataset
from mien.errors import UsageError
from mien.export import export as export_room
from mien.export import int8_graph
from mien.export import quantise as room
from mien.export.export import Exported, convert_exported, export_run
from mien.export.graph import ParityError
from mien.export.int8_graph import quantise_graph, trunk_nodes
from mien.export.quantise import TaskChange, check_changes, nominal_change, ordinal_change
from mien.inference.bundle import load_bundle
from mien.inference.metadata import INPUT_NAME
from mien.onnx.checks import fits_16_bits
from mien.onnx.schema import parse_model
from mien.onnx.sessions import open_session
from mien.tasks import AGE, GENDER
from mien.vision.resize import resize_crops
from tests.export.conftest import Trained


def graph_of(*nodes: tuple[str, list[str], str]) -> onnx.ModelProto:
    """A model of nodes (operator, inputs, output); each is called after its output."""
    made = [helper.make_node(kind, inputs, [output], name=output) for kind, inputs, output in nodes]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(made, "g", [value], []))


def test_the_trunk_lies_between_weights() -> None:
    """A stem, a residual block, and two heads of which one has a hidden layer."""
    model = graph_of(
        ("Cast", ["x"], "float"),
        ("Sub", ["float", "mean"], "normal"),
        ("Conv", ["normal", "w1"], "stem"),
        ("Relu", ["stem"], "relu"),
        ("Conv", ["relu", "w2"], "block"),
        ("Add", ["block", "relu"], "sum"),
        ("GlobalAveragePool", ["sum"], "pool"),
        ("Gemm", ["pool", "w3"], "age_logits"),
        ("Sigmoid", ["age_logits"], "age"),
        ("MatMul", ["pool", "w4"], "hidden"),
        ("Relu", ["hidden"], "hidden_relu"),
        ("MatMul", ["hidden_relu", "w5"], "gender_logits"),
        ("Softmax", ["gender_logits"], "gender"),
    )
    assert trunk_nodes(model) == ["stem", "relu", "block", "sum", "pool", "hidden", "hidden_relu"]


def test_the_first_of_many_weights_stay_in_float32() -> None:
    """Of 33 convolutions the first two, whatever follows them at once."""
    links = [("Conv", [f"c{index - 1}" if index else "x", "w"], f"c{index}") for index in range(33)]
    model = graph_of(*links[:2], ("Relu", ["c1"], "relu"), ("Conv", ["relu", "w"], "c2"), *links[3:])
    assert trunk_nodes(model) == [f"c{index}" for index in range(2, 32)]


def test_the_cut_is_where_the_map_has_few_channels() -> None:
    """Of 64 convolutions four may stay in float32; the third leaves 16 channels, the fourth 96."""
    model = graph_of(*[("Conv", [f"c{index - 1}" if index else "x", f"w{index}"], f"c{index}") for index in range(64)])
    for index, channels in enumerate((32, 32, 16, 96)):
        model.graph.initializer.append(helper.make_tensor(f"w{index}", TensorProto.FLOAT, [channels, 0], []))
    assert trunk_nodes(model) == [f"c{index}" for index in range(3, 63)]


def test_each_of_two_networks_side_by_side_begins_in_float32() -> None:
    """Both have 26 convolutions and one head in common, so two of each stay in float32; the second's come later."""
    chains = [
        [("Conv", [f"{name}{index - 1}" if index else "x", "w"], f"{name}{index}") for index in range(26)]
        for name in ("a", "b")
    ]
    head = [("Concat", ["a25", "b25"], "both"), ("Gemm", ["both", "w"], "logits")]
    wanted = [f"{name}{index}" for name in ("a", "b") for index in range(2, 26)]
    assert trunk_nodes(graph_of(*chains[0], *chains[1], *head)) == [*wanted, "both"]


def test_without_weights_there_is_no_trunk() -> None:
    assert trunk_nodes(graph_of(("Cast", ["x"], "float"), ("Softmax", ["float"], "out"))) == []
    assert trunk_nodes(graph_of(("MatMul", ["x", "w"], "logits"), ("Softmax", ["logits"], "out"))) == []


def test_the_change_of_an_accuracy_by_hand() -> None:
    """Four labelled faces of five: three right before (0, 1 and 3), two after (0 and 3)."""
    labels = np.array([0, 1, 1, 1, -1])
    before, after = np.eye(2)[[0, 1, 0, 1, 0]], np.eye(2)[[0, 0, 0, 1, 1]]
    change = nominal_change(GENDER, (before, after), labels)
    assert (change.float32, change.int8, change.n) == (0.75, 0.5, 4)
    assert change.loss == 0.25
    assert change.text == "gender accuracy 75.0 % to 50.0 %"
    # Without any label float32's own answers are the truth: three of five stayed.
    change = nominal_change(GENDER, (before, after), np.full(5, -1))
    assert (change.float32, change.int8, change.n) == (1.0, 0.6, 5)


def test_the_change_of_an_error_by_hand() -> None:
    nan = math.nan
    before, after = np.array([30.0, 41.0, 12.0, 7.0]), np.array([31.0, 43.0, 12.0, 9.0])
    # Exact labels 30 and 40; the interval and the unlabelled face stay out: (0 + 1) / 2 and (1 + 3) / 2.
    change = ordinal_change(AGE, (before, after), np.array([30, 40, 0, nan]), np.array([30, 40, 5, nan]))
    assert (change.float32, change.int8, change.n) == (0.5, 2.0, 2)
    assert change.loss == 1.5
    assert change.text == "age MAE 0.50 to 2.00"
    # Intervals alone: 0-5 is missed by 7 both times; 40-42 is hit, then missed by 1.
    change = ordinal_change(AGE, (before, after), np.array([nan, 40, 0, nan]), np.array([nan, 42, 5, nan]))
    assert (change.float32, change.int8, change.n) == (3.5, 4.0, 2)
    # No label at all: the distance to float32's answers, (1 + 2 + 0 + 2) / 4.
    change = ordinal_change(AGE, (before, after), np.full(4, nan), np.full(4, nan))
    assert (change.float32, change.int8, change.n) == (0.0, 1.25, 4)


def change_of(measure: str, float32: float, int8: float) -> TaskChange:
    return TaskChange(task="t", measure=measure, float32=float32, int8=int8, n=1234)  # type: ignore[arg-type]


def test_what_is_lost_within_the_bounds_is_allowed() -> None:
    check_changes((change_of("mae", 4.5, 4.59), change_of("accuracy", 0.93, 0.9275)), 0.1)
    # Better is never refused.
    check_changes((change_of("mae", 4.5, 3.0), change_of("accuracy", 0.5, 0.9)), 0.5)


@pytest.mark.parametrize(
    ("measure", "float32", "int8", "words"),
    [
        ("mae", 4.5, 4.61, "t MAE 4.50 to 4.61 on 1,234 faces"),
        ("accuracy", 0.93, 0.926, "t accuracy 93.0 % to 92.6 % on 1,234 faces"),
        ("mae", 4.5, math.nan, "t MAE 4.50 to nan"),
    ],
)
def test_what_is_lost_beyond_them_is_refused(measure: str, float32: float, int8: float, words: str) -> None:
    with pytest.raises(ParityError, match=r"at most 0\.1 of a level and 0\.3 points are allowed") as refused:
        check_changes((change_of("mae", 4.5, 4.5), change_of(measure, float32, int8)), 0.25)
    assert words in str(refused.value)
    assert "MAE 4.50 to 4.50" not in str(refused.value)
    assert "differ by up to 0.25" in str(refused.value)


@pytest.fixture
def ready_graph(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The float32 graph that was written before, in place of a new one: writing it takes seconds."""
    content = exported.path.read_bytes()
    monkeypatch.setattr(export_room, "write_graph", lambda network, metadata, path: path.write_bytes(content))


@pytest.fixture(scope="module")
def quantised(trained: Trained, exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The run's bundle in int8. One face of 80 weighs more than the bounds allow, so they are wider here."""
    content = exported.path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_room, "write_graph", lambda network, metadata, path: path.write_bytes(content))
        patch.setattr(room, "ALLOWED_MAE", 2.0)
        patch.setattr(room, "ALLOWED_ACCURACY", 0.05)
        out = tmp_path_factory.mktemp("int8") / "int8.onnx"
        return export_run(trained.run, trained.data, out, int8=True)


def test_a_bundle_without_its_run_gives_the_same_graph(
    trained: Trained, exported: Exported, quantised: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ALLOWED_MAE", 2.0)
    monkeypatch.setattr(room, "ALLOWED_ACCURACY", 0.05)
    again = convert_exported(exported.path, trained.data, tmp_path / "again.onnx", name="other")
    assert onnx.load(again.path).graph == onnx.load(quantised.path).graph
    assert load_bundle(again.path).metadata.name == "other"
    assert again.metadata.calibration == quantised.metadata.calibration
    assert again.metadata.metrics == quantised.metadata.metrics
    with pytest.raises(UsageError, match="is in 8 bits already"):
        convert_exported(again.path, trained.data, tmp_path / "twice.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "is a bundle: --int8 or --half"),
        (("--half", "--flip-tta"), "is a bundle: --int8 or --half"),
        (("--int8", "--half"), "Of --int8 and --half, pass one"),
    ],
)
def test_a_bundle_is_exported_in_another_form_alone(
    trained: Trained, exported: Exported, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    command = ["export", str(exported.path), "--data", str(trained.data), "--out", str(tmp_path / "out.onnx"), *options]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_half_keeps_the_weights_in_16_bits_and_answers_as_before(
    trained: Trained, exported: Exported, tmp_path: Path, ready_graph: None
) -> None:
    of_bundle = convert_exported(exported.path, trained.data, tmp_path / "half.onnx", half=True, name="half")
    of_run = export_run(trained.run, trained.data, tmp_path / "run.onnx", half=True)
    assert onnx.load(of_bundle.path).graph == onnx.load(of_run.path).graph
    assert of_bundle.metadata.calibration == exported.metadata.calibration
    assert load_bundle(of_bundle.path).metadata.name == "half"

    def weights(path: Path) -> int:
        return sum(len(value.raw_data) for value in onnx.load(path).graph.initializer)

    assert weights(of_bundle.path) < 0.6 * weights(exported.path)
    dataset = open_dataset(trained.data)
    crops = resize_crops(np.asarray(dataset.crops[dataset.rows("test")]), 24)
    before, after = load_bundle(exported.path).run(crops), load_bundle(of_bundle.path).run(crops)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=5e-3)


def operators(path: Path) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in onnx.load(path).graph.node:
        found.setdefault(node.op_type, []).append(node)
    return found


def test_the_answers_stay_the_same(trained: Trained, exported: Exported, quantised: Exported) -> None:
    dataset = open_dataset(trained.data)
    crops = resize_crops(np.asarray(dataset.crops[dataset.rows("test")]), 24)
    wanted, got = load_bundle(exported.path).run(crops), load_bundle(quantised.path).run(crops)
    for name, output in got.items():
        np.testing.assert_allclose(output, wanted[name], atol=0.2)
    assert (got["gender"].argmax(axis=1) == wanted["gender"].argmax(axis=1)).mean() > 0.97
    # It is another graph, and the answers are not constant.
    assert np.abs(got["gender"] - wanted["gender"]).max() > 1e-6
    assert len(set(wanted["gender"].argmax(axis=1))) == 2


def test_the_trunk_is_int8_and_the_heads_are_not(exported: Exported, quantised: Exported) -> None:
    model, found = onnx.load(quantised.path), operators(quantised.path)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    scaled = {output: node.input[0] for node in found["DequantizeLinear"] for output in node.output}
    first, *convolutions = found["Conv"]
    assert kinds[first.input[1]] == TensorProto.FLOAT
    assert [kinds[scaled[node.input[1]]] for node in convolutions] == [TensorProto.INT8] * len(convolutions)
    # The heads' weights are 16 bits in the file and float32 in the computation.
    halved = {node.output[0]: kinds[node.input[0]] for node in found["Cast"] if node.input[0] in kinds}
    assert [halved[node.input[1]] for node in found["Gemm"]] == [TensorProto.FLOAT16] * 3
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(exported.path))
    # Per channel: a scale for each output channel of the convolution.
    scales = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    weight = next(node for node in found["DequantizeLinear"] if node.output[0] == convolutions[0].input[1])
    assert scales[weight.input[1]] == [scales[weight.input[0]][0]]
    # Of 7 bits, so that no processor overflows in the sum of two products.
    assert fits_16_bits(parse_model(quantised.path.read_bytes()))
    assert {opset.domain for opset in model.opset_import} == {""}
    assert model.producer_name == "mien"


def means_of_logits(path: Path, crops: np.ndarray) -> list[np.ndarray]:
    """The means over crops of what the heads' last layers give."""
    model = onnx.load(path)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Gemm"]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    outputs = open_session(model.SerializeToString()).run(names, {INPUT_NAME: crops})
    return [output.mean(axis=0) for output in outputs]


def test_the_means_of_the_logits_stay_the_same(
    trained: Trained, exported: Exported, quantised: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(trained.data)
    crops = resize_crops(np.asarray(dataset.crops[dataset.rows("train")]), 24)
    monkeypatch.setattr(int8_graph, "_correct_biases", lambda model, exact, crops: None)
    uncorrected = Path(shutil.copy(exported.path, tmp_path / "uncorrected.onnx"))
    quantise_graph(uncorrected, crops)
    wanted = means_of_logits(exported.path, crops)

    def off(path: Path) -> float:
        pairs = zip(means_of_logits(path, crops), wanted, strict=True)
        return max(float(np.abs(got - mean).max()) for got, mean in pairs)

    # The heads' weights have 16 bits.
    assert off(quantised.path) < 0.002
    assert off(uncorrected) > 5 * off(quantised.path)


@pytest.mark.parametrize(("weights", "fit"), [([0, 64, -64], True), ([0, 65], False), ([-65], False), ([], True)])
def test_weights_that_may_overflow_16_bits_are_found(weights: list[int], fit: bool) -> None:
    values = np.array(weights, np.int8)
    node = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values))
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(np.full(3, 200, np.uint8), "other")])
    assert fits_16_bits(parse_model(helper.make_model(graph).SerializeToString())) is fit


def test_the_metadata_say_what_was_done(exported: Exported, quantised: Exported) -> None:
    metadata = load_bundle(quantised.path).metadata
    assert metadata == quantised.metadata
    assert metadata.name == "tiny"
    told = metadata.training["quantised"]
    assert told["ranges_from"] == {"split": "train", "crops": 64, "seed": 0}
    assert set(told["validation"]) == {"age", "gender", "ethnicity"}
    assert told["validation"]["ethnicity"]["n"] == 160
    assert quantised.quantised is not None
    assert told["largest_difference"] == round(quantised.quantised.difference, 4) > 0
    assert metadata.metrics["split"] == "test"
    assert "7-bit weights per channel" in metadata.card
    assert metadata.licences == exported.metadata.licences
    assert exported.quantised is None
    assert "quantised" not in exported.metadata.training


def test_the_calibration_is_that_of_the_int8_answers(trained: Trained, quantised: Exported) -> None:
    from mien.calibration.fit import calibrate_nominal

    dataset = open_dataset(trained.data)
    rows = dataset.rows("val")
    output = load_bundle(quantised.path).run(resize_crops(np.asarray(dataset.crops[rows]), 24))["gender"]
    expected = calibrate_nominal(output, dataset.nominal_labels(GENDER)[rows])
    assert quantised.metadata.calibration["gender"] == expected


def test_nothing_of_the_machine_is_in_the_file(quantised: Exported) -> None:
    content = quantised.path.read_bytes()
    for start in (b"/work/", b"/home/", b"/tmp/", b"/root/", b"site-packages", b"/nowhere", b"mien-int8-"):
        assert start not in content, start


def test_a_loss_above_the_bound_writes_nothing(
    trained: Trained, ready_graph: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ALLOWED_ACCURACY", -2.0)
    with pytest.raises(ParityError, match=r"gender accuracy .* on \d+ faces"):
        export_run(trained.run, trained.data, tmp_path / "model.onnx", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_changed(
    trained: Trained, ready_graph: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ALLOWED_MAE", 2.0)
    monkeypatch.setattr(room, "ALLOWED_ACCURACY", 0.05)
    words = ["export", str(trained.run), "--data", str(trained.data), "--out", str(tmp_path / "m.onnx"), "--int8"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "int8, on validation: age MAE" in told
    assert "gender accuracy" in told
    assert "probabilities differ by at most 0." in told
    assert "quantised" in load_bundle(tmp_path / "m.onnx").metadata.training
