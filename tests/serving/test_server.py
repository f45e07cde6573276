"""`mien serve` as a process: signals, slow clients, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from mien.errors import MienError
from mien.serving.server import limited_protocol, listening, serve
from mien.serving.settings import Settings

RAW = {"content-type": "image/jpeg"}


@contextlib.contextmanager
def serving(bundle: Path, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, with ``folder`` as its temporary folder and its home."""
    command = [sys.executable, "-m", "mien.cli.main", "serve", "--model", str(bundle), "--port", "0", *options]
    environment = {**os.environ, "TMPDIR": str(folder), "HOME": str(folder), "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process, process.stderr.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of one server for all tests here that do not end it, and its folder."""
    folder = tmp_path_factory.mktemp("home")
    with serving(bundle, folder, "--upload-seconds", "1") as (_, address):
        yield address, folder


def test_uploads_leave_nothing_on_the_disk(server: tuple[str, Path], photo: bytes) -> None:
    address, folder = server
    files = [("images", (f"{number}.jpg", photo + bytes(2_000_000))) for number in range(4)]
    results = httpx.post(f"{address}/v1/predict", files=files, timeout=120).json()["results"]
    assert [result["status"] for result in results] == ["ok"] * 4
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n", b""),
        (b"", b""),
        (b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nab", b"408"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\nab", b"400"),
        (
            b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 3\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"400",
        ),
        (b"\x16\x03\x01\x00\xff\r\n\r\n", b"400"),
    ],
)
def test_a_connection_that_does_not_go_on_is_ended(server: tuple[str, Path], sent: bytes, answer: bytes) -> None:
    name, _, port = server[0].removeprefix("http://").partition(":")
    with socket.create_connection((name, int(port)), timeout=120) as connection:
        connection.sendall(sent)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(4096):
                received += chunk
    assert received.partition(b" ")[2].startswith(answer)


def test_no_part_of_a_response_waits_for_the_client_to_confirm_another() -> None:
    """Without TCP_NODELAY the second part of a response waits some 40 ms."""

    async def served() -> int:
        protocol, made = limited_protocol(1, 1), []
        config = uvicorn.Config(app=Starlette())
        config.load()

        def make() -> asyncio.Protocol:
            made.append(protocol(config=config, server_state=ServerState(), app_state={}))
            return made[-1]

        with listening("127.0.0.1", 0) as listener:
            running = await asyncio.get_running_loop().create_server(make, sock=listener)
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            while not (made and made[0].transport):
                await asyncio.sleep(0.01)
            found: int = made[0].transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
            running.close()
            return found

    assert asyncio.run(served())


def test_more_connections_than_the_limit_are_refused_as_busy(bundle: Path, tmp_path: Path, photo: bytes) -> None:
    with serving(bundle, tmp_path, "--max-connections", "2") as (_, address):
        name, _, port = address.removeprefix("http://").partition(":")
        with (
            socket.create_connection((name, int(port)), timeout=120),
            socket.create_connection((name, int(port)), timeout=120),
        ):
            refused = httpx.post(f"{address}/v1/predict", content=photo, headers=RAW, timeout=120)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        deadline = time.monotonic() + 60
        while (
            again := httpx.post(f"{address}/v1/predict", content=photo, headers=RAW, timeout=120)
        ).status_code == 429:
            assert time.monotonic() < deadline
        assert again.status_code == 200


def test_the_images_of_clients_that_have_gone_are_not_predicted(bundle: Path, tmp_path: Path, photo: bytes) -> None:
    body = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n%b\r\n' % photo for _ in range(8)
    )
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=edge\r\nContent-Length: "
    )
    request = f"{head}{len(body) + 8}\r\n\r\n".encode() + body + b"--edge--"
    with serving(bundle, tmp_path, "--workers", "1") as (_, address):
        name, _, port = address.removeprefix("http://").partition(":")
        for _ in range(12):
            with socket.create_connection((name, int(port)), timeout=120) as connection:
                connection.sendall(request)
        assert httpx.post(f"{address}/v1/predict", content=photo, headers=RAW, timeout=120).status_code == 200
        lines = httpx.get(f"{address}/metrics", timeout=120).text.splitlines()
        predicted = sum(float(line.split()[-1]) for line in lines if line.startswith("mien_images_total"))
        assert predicted < 12 * 8


def begun(metrics: str) -> int:
    """How many predictions have been asked for, by what `/metrics` answers, which counts its own request too."""
    counted = re.findall(r'^mien_requests_total{route="/v1/predict".*} (\S+)$', metrics, re.MULTILINE)
    in_flight = re.findall(r"^mien_requests_in_flight (\S+)$", metrics, re.MULTILINE)
    return int(sum(map(float, counted + in_flight))) - 1


def test_requests_that_have_begun_are_answered_after_sigterm(bundle: Path, tmp_path: Path, photo: bytes) -> None:
    with serving(bundle, tmp_path, "--workers", "1") as (process, address), ThreadPoolExecutor(4) as pool:
        files = [("images", (f"{number}.jpg", photo)) for number in range(8)]
        calls = [pool.submit(httpx.post, f"{address}/v1/predict", files=files, timeout=120) for _ in range(4)]
        while begun(httpx.get(f"{address}/metrics", timeout=120).text) < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        responses = [call.result() for call in calls]
        assert [len(response.json()["results"]) for response in responses] == [8] * 4
        assert process.wait(120) == 128 + signal.SIGTERM
        assert process.stderr is not None and process.stderr.read() == ""


def test_nothing_that_is_sent_is_logged(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path) as (process, address):
        headers = {"content-type": "multipart/form-data; boundary=edge"}
        assert httpx.post(f"{address}/v1/predict", content=b"secret", headers=headers, timeout=120).status_code == 422
        files = [("images", ("secret.jpg", b"secret"))]
        assert httpx.post(f"{address}/v1/predict", files=files, timeout=120).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None and process.stderr.read() == ""


def test_a_port_in_use_is_one_sentence(server: tuple[str, Path], bundle: Path) -> None:
    port = server[0].rpartition(":")[2]
    with pytest.raises(MienError, match="Cannot listen"):
        serve(Settings(model=str(bundle)), host="127.0.0.1", port=int(port), announce=print)
