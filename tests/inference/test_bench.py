"""The measuring of bundles: what is read from the file, the arithmetic, and a real measurement of tiny bundles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mien.errors import MienError, UsageError
from mien.inference import bench as room
from mien.inference.bench import BenchedModel, Configuration, describe_models, measure, peak_memory, precision_of
from mien.inference.metadata import BundleError
from tests.bundles import write_tiny_bundle


def with_int8_logits(model: onnx.ModelProto) -> None:
    """Send the mean colour through 8 bits."""
    nodes = list(model.graph.node)
    scale = helper.make_tensor("step", TensorProto.FLOAT, [], [1 / 255])
    zero = helper.make_tensor("zero", TensorProto.UINT8, [], [0])
    model.graph.initializer.extend([scale, zero])
    position = next(index for index, node in enumerate(nodes) if "mean" in node.output)
    nodes[position].output[0] = "exact_mean"
    quantise = helper.make_node("QuantizeLinear", ["exact_mean", "step", "zero"], ["mean8"])
    restore = helper.make_node("DequantizeLinear", ["mean8", "step", "zero"], ["mean"])
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: position + 1], quantise, restore, *nodes[position + 1 :]])


def test_a_model_is_described_by_its_file(tmp_path: Path) -> None:
    plain = write_tiny_bundle(tmp_path / "plain.onnx", size=32)
    int8 = write_tiny_bundle(tmp_path / "int8.onnx", size=48, change=with_int8_logits)
    first, second = describe_models([plain, int8])
    assert (first.label, first.precision, first.size) == ("plain.onnx", "fp32", 32)
    assert (second.label, second.precision, second.size) == ("int8.onnx", "int8", 48)
    assert first.megabytes == plain.stat().st_size / 1e6
    assert first.identifier.startswith("tiny@")
    assert first.figures == {"age mae": 4.5}


def test_figures_of_any_shape_are_taken_or_left(tmp_path: Path) -> None:
    metrics = '"tasks": {"age": {"mae": {"value": "low"}}, "gender": {"accuracy": {"value": 0.5}}, "ethnicity": [1]}'

    def spoil(model: onnx.ModelProto) -> None:
        text = model.metadata_props[0].value
        start = text.index('"tasks": {"age"')
        model.metadata_props[0].value = text[:start] + metrics + text[text.index('}, "card"', start) :]

    (found,) = describe_models([write_tiny_bundle(tmp_path / "m.onnx", change=spoil)])
    assert found.figures == {"gender accuracy": 0.5}


def test_bundles_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    paths = [write_tiny_bundle(tmp_path / "m.onnx"), write_tiny_bundle(tmp_path / "a" / "m.onnx")]
    assert [model.label for model in describe_models([*paths])] == [str(path) for path in paths]


def test_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        describe_models([tmp_path / "none.onnx"])
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(BundleError, match="is no m"):
        describe_models([tmp_path / "text.onnx"])


def test_operators_named_like_quantisation_in_texts_do_not_count() -> None:
    """Only a node's operator decides: not its name, and not the names of values."""
    node = helper.make_node("Relu", ["QuantizeLinear"], ["DequantizeLinear"], name="QLinearConv")
    model = helper.make_model(helper.make_graph([node], "QuantizeLinear", [], []))
    assert precision_of(model.SerializeToString()) == "fp32"


def fake(label: str = "m.onnx", batch: int = 8, path: Path = Path("m.onnx")) -> Configuration:
    model = BenchedModel(
        path=path, label=label, identifier="m@0", precision="fp32", megabytes=1.0, size=32, provider="cpu", figures={}
    )
    return Configuration(model=model, batch=batch, threads=1)


def test_the_summary_by_hand() -> None:
    """Calls of 1, 2, 3 and 4 ms in two rounds: 8 x 4 faces in 10 ms."""
    found = room._summary(fake(), [np.array([0.001, 0.002]), np.array([0.003, 0.004])], 12.5)
    assert found.calls == 4
    assert found.median == pytest.approx(2.5)
    assert found.p95 == pytest.approx(3.85)  # 0.95 x 3 = 2.85: between 3 and 4
    assert found.faces_per_second == pytest.approx(3200)
    assert found.round_medians == pytest.approx((1.5, 3.5))
    assert found.peak_megabytes == 12.5


def test_every_configuration_is_measured(tmp_path: Path) -> None:
    """Both models, both batch sizes; the one whose file is 8 MB larger needs that much more memory."""

    def enlarge(model: onnx.ModelProto) -> None:
        weight = onnx.numpy_helper.from_array(np.ones(2_000_000, np.float32), "ballast")
        model.graph.initializer.append(weight)

    small = write_tiny_bundle(tmp_path / "small.onnx")
    large = write_tiny_bundle(tmp_path / "large.onnx", change=enlarge)
    models = describe_models([small, large])
    found = measure(models, batches=(1, 4), threads=(1,), seconds=0.1)
    assert [(one.configuration.model.label, one.configuration.batch) for one in found] == [
        ("small.onnx", 1), ("small.onnx", 4), ("large.onnx", 1), ("large.onnx", 4)]  # fmt: skip
    for one in found:
        assert one.calls >= room.ROUNDS == len(one.round_medians)
        assert 0 < one.median <= one.p95
        assert one.faces_per_second > 0
    if sys.platform == "linux":
        small_peak, large_peak = (found[index].peak_megabytes or 0.0 for index in (0, 2))
        assert 0 < small_peak < large_peak - 7


def test_turns_are_taken_round_after_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float | None]] = []

    class Arm:
        def __init__(self, configuration: Configuration) -> None:
            self.configuration, self.rounds = configuration, list[object]()

        def __enter__(self) -> Arm:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, seconds: float | None) -> object:
            asked.append((self.configuration.model.label, seconds))
            return np.array([0.5]) if seconds else None

    monkeypatch.setattr(room, "_arm", Arm)
    measure([fake("a").model, fake("b").model], (1,), (1,), seconds=10)
    assert asked[:4] == [("a", 2.0), ("b", 2.0), ("a", 2.0), ("b", 2.0)]
    assert asked[-2:] == [("a", None), ("b", None)]
    assert len(asked) == 2 * room.ROUNDS + 2


@pytest.mark.parametrize(
    ("batches", "threads", "seconds", "words"),
    [
        ((0,), (1,), 1.0, "batch size must be a whole number from 1 to 4096, got 0"),
        ((1,), (1, 999), 1.0, "number of threads must be a whole number from 1 to 256, got 999"),
        ((), (1,), 1.0, "got none"),
        ((1,), (1,), 0.0, "seconds of a configuration must be above 0"),
        ((1,), (1,), float("nan"), "got nan"),
    ],
)
def test_numbers_out_of_range_are_refused(
    batches: tuple[int, ...], threads: tuple[int, ...], seconds: float, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        measure([fake().model], batches, threads, seconds)


def test_a_model_that_fails_is_one_sentence(tmp_path: Path) -> None:
    """The file is gone when its process wants to read it."""
    with pytest.raises(MienError, match=r"Measuring m\.onnx at batch size 8, threads 1, failed: Cannot load the model"):
        measure([fake(path=tmp_path / "m.onnx").model], (8,), (1,), 0.1)


def test_a_process_that_dies_is_one_sentence(tmp_path: Path) -> None:
    configuration = fake(path=write_tiny_bundle(tmp_path / "m.onnx"))
    with room._arm(configuration) as arm:
        arm._process.kill()
        arm._process.join()
        with pytest.raises(MienError, match=r"its process ended with exit code -9\."):
            arm.ask(0.1)
    assert not arm._process.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_memory_is_that_of_the_process_itself() -> None:
    """100 MB that a process had for a moment count; the 300 MB of the one that started it do not."""
    held = np.ones(37_500_000)
    assert (peak_memory() or 0.0) > 300
    code = "from mien.inference.bench import peak_memory as p; a = p(); b'x' * 10**8; print(a, p())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    first, last = map(float, done.stdout.split())
    assert first < 200
    # Pages that were given back between the two are not in the difference.
    assert 80 < last - first < 200
    assert held.nbytes == 3 * 10**8


def test_measuring_loads_no_training_package(tmp_path: Path) -> None:
    model = write_tiny_bundle(tmp_path / "m.onnx")
    code = (
        "import sys\nfrom pathlib import Path\nimport mien.cli.bench\n"
        "from mien.inference.bench import describe_models\n"
        f"describe_models([Path({str(model)!r})])\n"
        "print(sorted({'torch', 'onnx', 'pandas', 'lightning', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
