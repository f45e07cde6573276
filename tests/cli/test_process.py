"""What `mien` owes the shell: signals, closed and narrow standard streams, general options."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.bundles import write_tiny_bundle

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
MIEN = [sys.executable, "-m", "mien"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("process")
    write_tiny_bundle(root / "m.onnx", size=32, crop_size=48)
    Image.open(EXAMPLE).save(root / "日本 é.jpg")
    Image.new("RGB", (50, 40)).save(root / "none.png")
    return root


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `mien` is the command line and $M the tiny bundle's option."""
    line = f'mien() {{ "{sys.executable}" -m mien "$@"; }}; M="--model m.onnx"; set -o pipefail; {command}'
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv", "table"])
def test_a_closed_standard_output_is_one_sentence(folder: Path, kind: str) -> None:
    done = shell(folder, f"mien predict none.png $M -f {kind} >&-")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [b"error: Cannot write to standard output: it is closed."]


def test_closed_streams_do_not_harm_a_file(folder: Path, tmp_path: Path) -> None:
    done = shell(folder, f"mien predict none.png $M -o {tmp_path}/o.csv <&- >&- 2>&-")
    assert done.returncode == 0
    assert len((tmp_path / "o.csv").read_bytes().splitlines()) == 2


@pytest.mark.parametrize("kind", ["jsonl", "csv", "table"])
def test_a_reader_that_stops_early_is_no_failure(folder: Path, kind: str) -> None:
    (folder / "list").write_text("none.png\n" * 3000, encoding="utf-8")
    done = shell(folder, f"mien -q predict - $M -f {kind} < list | head -n 1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_the_table_is_printed_on_terminals_with_few_letters(folder: Path, encoding: str) -> None:
    done = shell(folder, 'mien predict "日本 é.jpg" $M -f table', PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert b".jpg" in done.stdout


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_leave_no_partial_file_and_no_traceback(folder: Path, tmp_path: Path, name: str) -> None:
    process = subprocess.Popen(
        [*MIEN, "predict", "--model", "m.onnx", "--out", str(tmp_path / "o.jsonl"), "-"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_default_signals,
    )
    assert process.stdin is not None
    process.stdin.write(b"none.png\n" * 5)
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    assert process.wait(20) == 128 + getattr(signal, name)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.2, 0.4])
def test_ctrl_c_while_the_command_starts_prints_no_traceback(folder: Path, delay: float) -> None:
    code = "from mien.cli.start import main; print('here', flush=True); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", "--model", "m.onnx", "-"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_default_signals,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode in (130, -signal.SIGINT)  # A shell calls both 130.
    assert stderr == b""


def _default_signals() -> None:
    """Tests that run in a shell's background inherit an ignored SIGINT, which Python then leaves ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("line", ["mien --quiet predict none.png $M", "mien predict none.png $M -q"])
def test_general_options_stand_before_and_after_the_command(folder: Path, line: str) -> None:
    done = shell(folder, line)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_debug_shows_the_traceback(folder: Path) -> None:
    assert b"Traceback" in shell(folder, "mien predict none.png --model absent.onnx --debug").stderr
    assert b"Traceback" not in shell(folder, "mien predict none.png --model absent.onnx").stderr


def test_the_help_imports_no_more_than_it_prints() -> None:
    heavy = "{'numpy', 'cv2', 'PIL', 'onnxruntime'} & set(sys.modules)"
    code = f"import sys; from mien.cli.main import application; application(); print({heavy} or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "light\n"


@pytest.mark.parametrize(("busy", "printed"), [(False, "working\nleft\n"), (True, "working\nreturned\nleft\n")])
def test_after_a_success_the_process_ends_at_once_unless_a_thread_works(busy: bool, printed: str) -> None:
    code = f"""
import atexit, threading
from mien.cli.process import end_after_success
atexit.register(print, "left")
print("working")
if {busy}:
    threading.Thread(target=threading.Event().wait, args=(0.2,)).start()
end_after_success()
print("returned")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
