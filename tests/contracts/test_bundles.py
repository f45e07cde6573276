"""Every bundle, ours or untrusted: a good one predicts as its metadata says, a bad one is refused in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mien.inference.bundle import bundled_names, load_bundle
from mien.inference.metadata import METADATA_KEY, BundleError
from mien.tasks import AGE, ETHNICITY, GENDER, RACE7, Task, parse_task
from tests.bundles import head_weights, write_tiny_bundle

CROPS = np.random.default_rng(1).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    "tasks",
    [(AGE, GENDER, ETHNICITY), (RACE7,), (parse_task("smile=ordinal:-2-4"), parse_task("glasses=nominal:no,yes"))],
    ids=["known", "one", "declared"],
)
def test_outputs_are_the_softmax_of_the_linear_heads(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", tasks))
    outputs = bundle.run(CROPS)
    mean = CROPS.astype(np.float64).mean(axis=(2, 3)) / 255
    assert list(outputs) == [task.name for task in tasks]
    for task in tasks:
        logits = mean @ head_weights(task)
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert outputs[task.name].dtype == np.float32
        np.testing.assert_allclose(outputs[task.name], expected, atol=1e-5)


def test_no_crops_give_empty_outputs(tmp_path: Path) -> None:
    outputs = load_bundle(write_tiny_bundle(tmp_path / "b.onnx")).run(CROPS[:0])
    assert {name: value.shape for name, value in outputs.items()} == {
        "age": (0, 117),
        "gender": (0, 2),
        "ethnicity": (0, 5),
    }


def test_bundled_models_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default", "default-int8", "a-model"):
        write_tiny_bundle(tmp_path / f"{name}.onnx", name=name)
    monkeypatch.setattr("mien.inference.bundle.ASSETS", tmp_path)
    assert bundled_names() == ["default", "a-model", "default-int8"]
    assert load_bundle("a-model").path == tmp_path / "a-model.onnx"
    assert "default, a-model, default-int8" in refusal(Path("tiny"))
    # Neither a file nor a folder of that name in the working directory is taken for the model.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-model").mkdir()
    assert load_bundle("a-model").path == tmp_path / "a-model.onnx"


@pytest.mark.parametrize(("fast", "name"), [(True, "default-int8"), (False, "default")])
def test_the_default_is_the_form_that_is_fast_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, name: str
) -> None:
    monkeypatch.setattr("mien.inference.bundle.ASSETS", tmp_path)
    monkeypatch.setattr("mien.inference.bundle.is_fast_in_int8", lambda: fast)
    write_tiny_bundle(tmp_path / "default.onnx", name="default")
    assert load_bundle().metadata.name == "default"
    write_tiny_bundle(tmp_path / "default-int8.onnx", name="default-int8")
    assert load_bundle().metadata.name == name


def change_metadata(path: Path, change: Callable[[dict], None]) -> None:
    """Write the bundle's metadata again as `change` leaves them."""
    model = onnx.load(path)
    (entry,) = (found for found in model.metadata_props if found.key == METADATA_KEY)
    value = json.loads(entry.value)
    change(value)
    entry.value = json.dumps(value)
    onnx.save(model, path)


def test_identifier_names_the_very_file(tmp_path: Path) -> None:
    one = load_bundle(write_tiny_bundle(tmp_path / "a.onnx", name="alpha"))
    same = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", name="alpha"))
    other = load_bundle(write_tiny_bundle(tmp_path / "c.onnx", (AGE,), name="alpha"))
    assert one.identifier == same.identifier != other.identifier
    assert one.identifier.startswith("alpha@")
    assert len(one.identifier) == len("alpha@") + 8


@pytest.mark.parametrize("shape", [(5, 3, 31, 32), (5, 32, 32, 3), (3, 32, 32)])
def test_crops_of_a_wrong_shape_are_a_caller_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be uint8, N x 3 x 32 x 32"):
        load_bundle(write_tiny_bundle(tmp_path / "b.onnx")).run(np.zeros(shape, np.uint8))


def test_no_default_model_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mien.inference.bundle.ASSETS", tmp_path / "none")
    with pytest.raises(BundleError, match="no default model"):
        load_bundle()


def test_things_that_are_no_readable_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.onnx")
    assert "directory" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "regular file" in refusal(tmp_path / "pipe.onnx")
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(2 << 30)
    assert "the limit is" in refusal(tmp_path / "sparse.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"hello, this is no model", b"\x89PNG\r\n\x1a\n", np.random.default_rng(0).bytes(4000)],
    ids=["empty", "zeros", "text", "png", "noise"],
)
def test_bytes_that_are_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.onnx"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_truncated_bundles_are_refused(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "b.onnx")
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refusal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.9999), value=st.binary(min_size=1, max_size=8))
def test_damaged_bundles_are_refused_or_run(tmp_path: Path, place: float, value: bytes) -> None:
    path = write_tiny_bundle(tmp_path / "b.onnx", (GENDER,))
    whole = bytearray(path.read_bytes())
    start = int(place * len(whole))
    whole[start : start + len(value)] = value
    path.write_bytes(whole)
    try:
        outputs = load_bundle(path).run(CROPS)
    except BundleError:
        return
    assert all(np.isfinite(output).all() for output in outputs.values())


def test_a_dimension_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    def name_dimension(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "the_batch"

    path = write_tiny_bundle(tmp_path / "b.onnx", change=name_dimension)
    load_bundle(path)
    path.write_bytes(path.read_bytes().replace(b"the_batch", b"\x80he_batch"))
    refusal(path)


def set_property(value: str | None) -> object:
    def change(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]
        helper.set_model_props(model, {"other": "x"} if value is None else {METADATA_KEY: value})

    return change


def edited(**changes: object) -> object:
    """Replace top-level keys of the metadata."""

    def change(model: onnx.ModelProto) -> None:
        value = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps({**value, **changes})

    return change


def rename_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "images"
    model.graph.node[0].input[0] = "images"


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "z_age"


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 48


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def one_output_less(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))
    model.graph.node[3].domain = "evil.ops"
    model.graph.node[3].op_type = "RunShell"


PIXELS = {"layout": "NCHW", "dtype": "uint8", "colour": "RGB", "crop_size": 32, "size": 32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_property(None), "lacks the key 'mien'"),
        (set_property(""), "not JSON"),
        (set_property("[" * 100_000), "not JSON"),
        (set_property("[1]"), "mien-bundle"),
        (edited(version=99), "format version 99; this mien reads 1"),
        (edited(preprocessing={}), "preprocessing"),
        (edited(preprocessing={**PIXELS, "crop": "five-landmarks-99"}), "0.15 to 0.5"),
        (edited(preprocessing={**PIXELS, "crop": "whole-image"}), "a crop recipe such as 'five-landmarks-37'"),
        (edited(preprocessing={**PIXELS, "crop": 37}), "preprocessing.crop"),
        (edited(preprocessing=PIXELS), "preprocessing"),
        (edited(calibration={}), "calibration"),
        (edited(tasks=[]), "tasks"),
        (edited(tasks=[{"name": "age", "kind": "ordinal", "lowest": 0, "highest": 90}]), "outputs must be"),
        (rename_input, "one input must be 'crops'"),
        (float_input, "tensor\\(uint8\\)"),
        (other_size, "N x 3 x 32 x 32"),
        (fixed_batch, "N x 3 x 32 x 32"),
        (rename_output, "outputs must be"),
        (one_output_less, "outputs must be"),
        (custom_operator, "refuses its graph"),
    ],
)
def test_a_bundle_whose_parts_disagree_is_refused(tmp_path: Path, change: object, words: str) -> None:
    path = write_tiny_bundle(tmp_path / "b.onnx", change=change)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=words):
        load_bundle(path)


def point_outside(tensor: onnx.TensorProto, location: str) -> None:
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "ABSOLUTE", "*/_ORT_MEM_ADDR_/*"])
def test_a_bundle_that_points_to_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "secret.bin").write_bytes(bytes(5000))
    monkeypatch.chdir(tmp_path / "inner")
    target = str(tmp_path / "secret.bin") if location == "ABSOLUTE" else location
    path = write_tiny_bundle(Path("b.onnx"), change=lambda model: point_outside(model.graph.initializer[1], target))
    assert "external file" in refusal(path)


def test_an_external_tensor_inside_a_subgraph_is_refused_too(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        constant = helper.make_tensor("c", TensorProto.FLOAT, [1], b"\0\0\0\0", raw=True)
        point_outside(constant, "secret.bin")
        output = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])
        branch = helper.make_graph([helper.make_node("Constant", [], ["o"], value=constant)], "branch", [], [output])
        yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
        model.graph.initializer.append(yes)
        model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch))

    assert "external file" in refusal(write_tiny_bundle(tmp_path / "b.onnx", change=change))


def weight(value: float) -> object:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[2].raw_data = np.full((3, 2), value, np.float32).tobytes()

    return change


def logits_instead(model: onnx.ModelProto) -> None:
    softmax = next(n for n in model.graph.node if n.name == "head_gender_softmax")
    softmax.op_type = "Identity"
    del softmax.attribute[:]


@pytest.mark.parametrize(("change", "words"), [(weight(np.nan), "not finite"), (logits_instead, "sum to 1")])
def test_outputs_that_are_no_probabilities_are_an_error(tmp_path: Path, change: object, words: str) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", change=change))  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=words):
        bundle.run(CROPS)


def test_a_graph_that_fails_while_running_is_one_sentence(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[3].input[0] = "reshaped"
        model.graph.initializer.append(helper.make_tensor("wrong", TensorProto.INT64, [2], [7, 3]))
        model.graph.node.insert(3, helper.make_node("Reshape", ["mean", "wrong"], ["reshaped"]))
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "M"

    try:
        bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", change=change))
    except BundleError:
        return  # Shape inference may see it coming.
    with pytest.raises(BundleError, match="failed on 5 crops"):
        bundle.run(CROPS)


def test_functions_are_refused(tmp_path: Path) -> None:
    """A few nested functions can expand to a graph of any size."""

    def change(model: onnx.ModelProto) -> None:
        node = helper.make_node("Identity", ["x"], ["y"])
        model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [node], []))

    assert "functions" in refusal(write_tiny_bundle(tmp_path / "b.onnx", change=change))


def endless_loop(model: onnx.ModelProto) -> None:
    """Let the heads wait for a loop of 2^62 turns."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["again"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.append(helper.make_tensor("turns", TensorProto.INT64, [], [2**62]))
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    model.graph.node[2].output[0] = "mean_alone"
    model.graph.node.insert(3, helper.make_node("Loop", ["turns", "", "mean_alone"], ["mean"], body=body))


def test_an_endless_loop_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.inference.bundle._CALL_SECONDS", 1.0)
    monkeypatch.setattr("mien.inference.bundle._CROP_SECONDS", 0.0)
    try:
        bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", change=endless_loop))
    except BundleError as error:
        pytest.fail(str(error))
    with pytest.raises(BundleError, match="more than 1 seconds"):
        bundle.run(CROPS)


def test_a_bundle_can_be_pickled_and_is_loaded_again(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "b.onnx")
    bundle = load_bundle(path)
    again = pickle.loads(pickle.dumps(bundle))
    np.testing.assert_array_equal(again.run(CROPS)["age"], bundle.run(CROPS)["age"])
    text = pickle.dumps(bundle)
    write_tiny_bundle(path, (AGE,), name="other")
    with pytest.raises(BundleError, match="was expected"):
        pickle.loads(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_gets_an_error_instead_of_a_hang(tmp_path: Path) -> None:
    """Other threads predict while the process forks; a lock that one of them holds would stay held in the child."""
    code = f"""
import os, threading
import numpy as np
from mien.errors import MienError
from mien.inference.bundle import load_bundle
bundle = load_bundle({str(write_tiny_bundle(tmp_path / "b.onnx"))!r})
crops = np.zeros((8, 3, 32, 32), np.uint8)
done = threading.Event()
def predict():
    while not done.is_set():
        bundle.run(crops)
threads = [threading.Thread(target=predict) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(40):
    child = os.fork()
    if not child:
        try:
            bundle.run(crops)
        except MienError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
done.set()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_only_the_tasks_that_are_asked_for_are_returned(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx"))
    whole, part = bundle.run(CROPS), bundle.run(CROPS, (GENDER,))
    assert list(part) == ["gender"]
    np.testing.assert_array_equal(part["gender"], whole["gender"])


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("calibration", "gender", "temperature"), 10**400, "temperature"),
        (("calibration", "gender", "temperature"), 1e-320, "temperature"),
        (("card",), "\ud800", "not JSON"),
        (("tasks", 0, "lowest"), -(2**63), "within"),
        (("tasks", 1, "classes"), ["a", "A"], "distinct"),
        (("tasks", 1, "classes"), ["a", "b\n"], "printable"),
    ],
)
def test_numbers_and_texts_that_would_fail_later_are_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: object, words: str
) -> None:
    path = write_tiny_bundle(tmp_path / "b.onnx")

    def change(metadata: dict) -> None:
        node = metadata
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = value

    change_metadata(path, change)
    assert words in refusal(path)


def long_graph(side: int, *, of_the_crops: bool) -> Callable[[onnx.ModelProto], None]:
    """Let the heads wait for products of matrices: of the crops, or of constants, made when the graph is opened."""

    def change(model: onnx.ModelProto) -> None:
        nodes = [helper.make_node("ConstantOfShape", ["sides"], ["wide"])]
        if of_the_crops:
            nodes += [
                helper.make_node("ReduceMax", ["scaled"], ["largest"], keepdims=0),
                helper.make_node("Add", ["wide", "largest"], ["product_0"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", ["wide"], ["product_0"]))
        nodes += [
            helper.make_node("MatMul", [f"product_{step}", f"product_{step}"], [f"product_{step + 1}"])
            for step in range(300)
        ]
        nodes += [
            helper.make_node("ReduceMin", ["product_300"], ["least"], keepdims=0),
            helper.make_node("Min", ["least", "zero"], ["little"]),
            helper.make_node("Add", ["mean_alone", "little"], ["mean"]),
        ]
        model.graph.initializer.append(helper.make_tensor("sides", TensorProto.INT64, [2], [side, side]))
        model.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
        model.graph.node[2].output[0] = "mean_alone"
        rest = list(model.graph.node[3:])
        del model.graph.node[3:]
        model.graph.node.extend([*nodes, *rest])

    return change


def test_a_bundle_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.inference.bundle._CALL_SECONDS", 1.0)
    monkeypatch.setattr("mien.inference.bundle._CROP_SECONDS", 0.0)
    bundle = load_bundle(write_tiny_bundle(tmp_path / "b.onnx", change=long_graph(3000, of_the_crops=True)))
    with pytest.raises(BundleError, match="failed on 5 crops: it took more than 1 seconds"):
        bundle.run(CROPS)
    honest = load_bundle(write_tiny_bundle(tmp_path / "honest.onnx"))
    assert honest.run(CROPS)["age"].shape == (5, AGE.n_outputs)


def test_a_bundle_that_takes_too_long_to_open_is_refused(tmp_path: Path) -> None:
    """The process ends at once, whether or not ONNX Runtime is still at it."""
    path = write_tiny_bundle(tmp_path / "b.onnx", change=long_graph(900, of_the_crops=False))
    code = f"""
import mien.inference.bundle
from mien.errors import MienError
mien.inference.bundle._OPEN_SECONDS = 0.5
try:
    mien.inference.bundle.load_bundle({str(path)!r})
except MienError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")
    assert "it took more than 0.5 seconds" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_loads_a_model_of_its_own(tmp_path: Path) -> None:
    """Other threads find faces while the process forks; the child loads the bundle and the face detector again."""
    code = f"""
import os, threading
import numpy as np
import mien
path = {str(write_tiny_bundle(tmp_path / "b.onnx"))!r}
photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
model = mien.load(path)
expected = model(photo, cropped=True).to_dict(), model(photo).to_dict()
done = threading.Event()
def predict():
    while not done.is_set():
        model(photo)
threads = [threading.Thread(target=predict) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for _ in range(10):
    child = os.fork()
    if not child:
        own = mien.load(path)
        same = (own(photo, cropped=True).to_dict(), own(photo).to_dict()) == expected
        os._exit(0 if same else 7)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
done.set()
for thread in threads:
    thread.join()
assert codes == [0] * 10, codes
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
