"""Nothing is sent and nothing is written that was not asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTO = ROOT / "examples" / "eileen_collins.jpg"

#: Runs the command line in a process that goes on for as long as ONNX Runtime takes to write its device id, and reports
#: the sockets that are open at the end.
RUN = """
import os, sys, time
from mien.cli.main import main
try:
    main()
except SystemExit as stop:
    code = stop.code
time.sleep(4)
kinds = []
for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
    try:
        kinds.append(os.readlink(f"/proc/self/fd/{number}"))
    except OSError:
        pass
sockets = [kind for kind in kinds if kind.startswith("socket:")]
sys.exit(f"open sockets: {sockets}" if sockets else code)
"""


@pytest.mark.parametrize(
    "arguments",
    [["predict", str(PHOTO), "--model", "small"], ["doctor"], ["bench", "small", "--seconds", "0.1", "--threads", "1"]],
    ids=lambda arguments: arguments[0],
)
def test_an_empty_home_stays_empty(arguments: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
    for name in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == []
