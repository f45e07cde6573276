"""`mien bench` as a user types it; the measuring itself is replaced, but for one real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mien.cli.bench import BLOCK_END, BLOCK_START, parse_numbers
from mien.cli.main import app
from mien.errors import MienError, UsageError
from mien.inference import bench as room
from mien.inference.bench import Configuration, Measurement
from tests.bundles import write_tiny_bundle


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two bundles."""
    write_tiny_bundle(tmp_path / "a.onnx")
    write_tiny_bundle(tmp_path / "b [1].onnx", size=48)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers made up from the configuration, in place of measured ones."""

    def measure(models: Any, batches: Any, threads: Any, seconds: float) -> list[Measurement]:
        return [
            Measurement(
                configuration=Configuration(model=model, batch=batch, threads=count),
                calls=int(10 * seconds),
                median=batch / count,
                p95=2 * batch / count,
                faces_per_second=1234.5,
                round_medians=(1.0, 2.0),
                peak_megabytes=None if batch == 8 else 56.7,
            )
            for model in models
            for batch in batches
            for count in threads
        ]

    monkeypatch.setattr(room, "measure", measure)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["bench", *words])


def test_a_real_measurement(folder: Path) -> None:
    result = run("a.onnx", "--batch", "1,2", "--threads", "1", "--seconds", "0.05", "--out", "bench.json")
    assert result.exit_code == 0, result.output
    written = json.loads((folder / "bench.json").read_text())
    assert [(one["file"], one["batch"], one["threads"]) for one in written["results"]] == [
        ("a.onnx", 1, 1), ("a.onnx", 2, 1)]  # fmt: skip
    for one in written["results"]:
        assert 0 < one["median_ms"] <= one["p95_ms"]
        assert one["faces_per_second"] > 0
        assert one["calls"] >= len(one["round_medians_ms"]) == written["settings"]["rounds"]
    machine = written["machine"]
    assert machine["cores"] >= 1
    assert machine["processor"]
    assert {"load_before", "load_after", "onnxruntime", "python"} <= set(machine)


def test_every_configuration_of_every_model(folder: Path, quick: None) -> None:
    result = run("a.onnx", "b [1].onnx", "--out", "bench.json")
    assert result.exit_code == 0, result.output
    written = json.loads((folder / "bench.json").read_text())
    assert len(written["results"]) == 2 * 3 * 2
    assert {(one["file"], one["batch"], one["threads"]) for one in written["results"]} == {
        (file, batch, threads) for file in ("a.onnx", "b [1].onnx") for batch in (1, 8, 32) for threads in (1, 2)
    }
    first, second = written["models"]
    assert (first["file"], first["precision"], first["size"], second["size"]) == ("a.onnx", "fp32", 32, 48)
    assert first["file_mb"] == round((folder / "a.onnx").stat().st_size / 1e6, 3)
    assert first["figures"] == {"age mae": 4.5}
    assert written["settings"] == {"seconds": 3.0, "rounds": 5, "warm_up_calls": 3, "seed": 0, "provider": "cpu"}
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "model precision file, MB crop, px age MAE" in lines
    assert "b [1].onnx fp32 0.0 48 4.50" in lines
    assert "32 2 a.onnx fp32 16.00 32.00 1,234 57" in lines
    assert "8 1 b [1].onnx fp32 8.00 16.00 1,234 -" in lines
    # Models stand together at each batch size and number of threads.
    assert (
        lines.index("1 1 b [1].onnx fp32 1.00 2.00 1,234 57") == lines.index("1 1 a.onnx fp32 1.00 2.00 1,234 57") + 1
    )


def test_a_page_is_written_and_its_block_replaced(folder: Path, quick: None) -> None:
    page = folder / "page.md"
    page.write_text(f"# Title\n\n{BLOCK_START}\nold\n{BLOCK_END}\n\nThe end.\n")
    assert run("a.onnx", "--batch", "4", "--threads", "1", "--markdown", "page.md").exit_code == 0
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BLOCK_START}\n\n`mien bench a.onnx --batch 4 --threads 1 --seconds 3`, on ")
    assert text.endswith(f"\n\n{BLOCK_END}\n\nThe end.\n")
    assert "old" not in text
    assert "| batch | threads | model | precision | median, ms | p95, ms | faces/s | memory, MB |" in text
    assert "| ---: | ---: | --- | --- | ---: | ---: | ---: | ---: |\n| 4 | 1 | a.onnx | fp32 | 4.00 | 8.00 |" in text
    assert "load average" in text
    assert str(folder) not in text
    # A page that is not there yet is made, and can be written again.
    for _ in range(2):
        assert run("a.onnx", "--batch", "4", "--threads", "1", "--markdown", "new.md").exit_code == 0
    assert (folder / "new.md").read_text().count(BLOCK_START) == 1
    assert (folder / "new.md").read_text().endswith(f"{BLOCK_END}\n")


def test_another_page_is_left_alone(folder: Path, quick: None) -> None:
    (folder / "page.md").write_text("mine")
    result = run("a.onnx", "--markdown", "page.md")
    assert isinstance(result.exception, UsageError)
    assert "has no block between" in str(result.exception)
    assert (folder / "page.md").read_text() == "mine"


@pytest.mark.parametrize(("load", "told"), [(3.25, True), (0.1, False), (None, False)])
def test_a_busy_machine_is_told(
    folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch, load: float | None, told: bool
) -> None:
    monkeypatch.setattr("mien.cli.bench.load_average", lambda: load)
    result = run("a.onnx")
    assert result.exit_code == 0, result.output
    assert ("The machine is busy (load average 3.25)" in result.stderr) is told


def test_quiet_prints_no_table(folder: Path, quick: None) -> None:
    result = CliRunner().invoke(app, ["--quiet", "bench", "a.onnx", "--out", "bench.json"])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert (folder / "bench.json").is_file()


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["none.onnx"], "none.onnx: The file cannot be read: No such file", 1),
        (["text.onnx"], "text.onnx is no m", 1),
        (["a.onnx", "--batch", "0"], "--batch must be whole numbers from 1 on", 2),
        (["a.onnx", "--threads", "1,x"], "got '1,x'", 2),
        (["a.onnx", "--batch", "5000"], "from 1 to 4096, got 5000", 2),
        (["a.onnx", "--seconds", "-1"], "must be above 0", 2),
    ],
)
def test_wrong_use_is_one_sentence(folder: Path, words: list[str], message: str, code: int) -> None:
    (folder / "text.onnx").write_text("hello")
    result = run(*words, "--out", "bench.json")
    assert isinstance(result.exception, MienError), result.output
    assert message in str(result.exception)
    assert result.exception.exit_code == code
    assert not (folder / "bench.json").exists()


def test_lists_of_numbers() -> None:
    assert parse_numbers("--batch", "8, 1,8,32") == (8, 1, 32)
    for wrong in ("", "1,", "1.5", "-1", "²", "9" * 5000):
        with pytest.raises(UsageError):
            parse_numbers("--batch", wrong)
