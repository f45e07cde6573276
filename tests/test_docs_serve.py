"""The examples of docs/serve.md run against a server, and the container's files say what the page says.

Addresses with port 8000 are those of a server on a free port.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mien.api import bundled_models
from tests.serving.test_server import serving

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
CURLS = [line for line in PAGE.splitlines() if line.startswith("curl ")]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["mien"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the bundled model of the page."""
    with serving(Path(bundled_models()[0]), tmp_path_factory.mktemp("home")) as (_, where):
        yield where


def run(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def block(language: str, address: str) -> str:
    """The page's only block of a language, with the address of the server."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000/" in found
    return found.replace("http://127.0.0.1:8000", address)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS)
def test_curl_commands_give_json_without_an_error(address: str, line: str) -> None:
    answer = json.loads(run(["bash", "-c", line.replace("http://127.0.0.1:8000", address)]))
    assert set(answer) & {"results", "result", "inputs"}, answer


def test_the_python_example_prints_a_result(address: str) -> None:
    assert re.fullmatch(r"eileen_collins.jpg ok \[\d+\.0\]\n", run([sys.executable, "-c", block("python", address)]))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_example_prints_a_result(address: str) -> None:
    assert re.fullmatch(r"ok (male|female)\n", run(["node", "--input-type=module"], block("javascript", address)))


def test_compose_keeps_the_server_in_bounds() -> None:
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"]
    assert COMPOSE["ports"] == ["127.0.0.1:8000:8000"]
    grace = float(COMPOSE["stop_grace_period"].removesuffix("s"))
    assert grace > 60, "a request may take its upload's and its answer's 30 seconds"
    assert re.search(r"^USER \d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_command_of_compose_starts_a_server_that_is_healthy(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("k" * 16)
    words = [str(tmp_path / "keys.txt") if word == "/run/secrets/keys" else word for word in COMPOSE["command"]]
    with serving(Path(bundled_models()[0]), tmp_path, *words) as (_, where):
        run(["sh", str(ROOT / "docker" / "healthcheck.sh"), where.rpartition(":")[2]])


def test_the_lock_file_pins_every_package_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["serve"]
    lock = (ROOT / "docker" / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w-]+)==\S+.*\\\n +--hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert {re.split(r"[^\w-]", requirement)[0] for requirement in wanted} <= set(pinned)
