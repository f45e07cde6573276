"""Execution providers: what is not there is said, and what differs from the processor is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

import mien
from mien.cli.main import app
from mien.errors import MienError, UsageError
from mien.inference.bundle import Bundle, load_bundle
from mien.inference.cores import usable_cores
from mien.inference.metadata import BundleError
from mien.onnx.providers import PROVIDERS, ProviderError, available_providers, batch_of, check_provider

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


def hold(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the installed ONNX Runtime have these providers alone."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS[name].name for name in names])


def test_auto_takes_an_accelerator_before_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, "cpu", "openvino", "cuda")
    assert available_providers() == ["cpu", "cuda", "openvino"]
    assert check_provider("auto") == "cuda"
    assert batch_of("cuda") > batch_of("cpu")
    hold(monkeypatch, "cpu", "coreml")
    assert check_provider("auto") == "cpu"


def test_a_missing_provider_is_one_sentence_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, "cpu")
    with pytest.raises(ProviderError, match=r"'cuda' is not in the installed ONNX Runtime.*mien\[gpu\]"):
        mien.load("small", provider="cuda")
    with pytest.raises(UsageError, match="Unknown provider 'gpu'; known: auto, cpu, cuda"):
        mien.load("small", provider="gpu")
    commands = [["predict", str(EXAMPLE)], ["video", str(EXAMPLE)], ["bench", "small"], ["serve", "--model", "small"]]
    for command in commands:
        result = CliRunner().invoke(app, [*command, "--provider", "openvino"])
        assert isinstance(result.exception, ProviderError)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_falls_back_where_the_device_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, "cpu", "cuda")  # The library is "there", but this build of ONNX Runtime leaves it out.
    model = mien.load("small", provider="auto")
    assert model.provider == "cpu"
    assert len(model(EXAMPLE).faces) == 1
    with pytest.raises(MienError, match="'cuda'"):
        mien.load("small", provider="cuda")


def test_another_provider_must_predict_what_the_processor_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor itself stands in for a second provider; its outputs are then made wrong."""
    table = {**PROVIDERS, "twin": PROVIDERS["cpu"]}
    for module in ("providers", "sessions"):
        monkeypatch.setattr(f"mien.onnx.{module}.PROVIDERS", table)
    assert load_bundle("small", provider="twin").provider == "twin"
    run = Bundle.run

    def wrong(self: Bundle, *given: object) -> dict[str, np.ndarray]:
        return {name: values[:, ::-1] for name, values in run(self, *given).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(Bundle, "run", wrong)
    with pytest.raises(BundleError, match="'twin' its probabilities differ from the processor's"):
        load_bundle("small", provider="twin")


def test_a_pickled_model_keeps_its_provider() -> None:
    assert pickle.loads(pickle.dumps(mien.load("small", provider="cpu"))).provider == "cpu"


@pytest.mark.parametrize(
    ("files", "group", "cores"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "max 100000"}, "0::/", 4),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 1),
        ({"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/a", 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/", 4),
        ({}, "", 4),
    ],
)
def test_threads_are_those_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], group: str, cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (tmp_path / "cgroup").write_text(f"{group}\n")
    assert usable_cores(tmp_path / "cgroup", tmp_path / "root") == cores
