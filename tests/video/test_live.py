"""Sources that are live: the latest frame only, and what breaks off is opened again."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

import mien
from benchmarks.video.rtsp import serve_rtsp
from mien.video.live import LiveSource, Pixels
from mien.video.opening import open_source
from mien.video.source import Counts, Sampling, UnreadableFilmError


def paced(count: int, fps: float, counts: Counts) -> Iterator[Pixels]:
    """Frames of one grey each, one every 1 / fps seconds."""
    started = time.monotonic()
    for number in range(count):
        time.sleep(max(started + number / fps - time.monotonic(), 0))
        counts.decoded += 1
        yield lambda number=number: np.full((8, 8, 3), number, np.uint8)  # type: ignore[misc]


def test_who_is_slower_than_the_source_gets_the_newest_frame() -> None:
    source = LiveSource(lambda counts: paced(100, 50, counts), "a test", Sampling(end=1.6), attempts=1)
    started, lags, numbers = None, [], []
    for frame in source.frames():
        started = time.monotonic() - frame.time if started is None else started
        lags.append(time.monotonic() - started - frame.time)
        numbers.append(frame.number)
        time.sleep(0.08)  # Four times slower than the source.
    assert max(lags) < 0.5
    assert 12 <= len(numbers) <= 24 and numbers == sorted(set(numbers))
    assert source.counts.dropped > 40


def test_a_source_that_breaks_off_is_opened_again() -> None:
    opened: list[float] = []

    def connect(counts: Counts) -> Iterator[Pixels]:
        opened.append(time.monotonic())
        if len(opened) in (2, 3):
            raise OSError("refused")
        yield from paced(5, 100, counts)

    source = LiveSource(connect, "a test", Sampling(), first_wait=0.05, attempts=3)
    frames = []
    with pytest.raises(UnreadableFilmError, match="a test"):
        for frame in source.frames():
            frames.append(frame)
            if len(opened) > 6:
                break
        raise UnreadableFilmError("a test")
    assert len(frames) > 6 and source.counts.reconnections >= 5
    assert opened[2] - opened[1] > 0.04 and opened[3] - opened[2] > 0.08  # The wait doubles.
    times = [frame.time for frame in frames]
    assert times == sorted(times)


def test_a_source_that_never_answers_is_given_up() -> None:
    def connect(counts: Counts) -> Iterator[Pixels]:
        raise OSError("refused")
        yield

    with pytest.raises(UnreadableFilmError, match="refused"):
        list(LiveSource(connect, "a test", Sampling(), first_wait=0.01).frames())


@pytest.fixture
def camera(face: np.ndarray) -> Iterator[str]:
    """The address of a camera that sends 15 pictures of a face and then hangs up, every time."""
    picture = cv2.imencode(".jpg", cv2.cvtColor(cv2.resize(face, (160, 160)), cv2.COLOR_RGB2BGR))[1].tobytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
            self.end_headers()
            for _ in range(15):
                self.wfile.write(b"--cut\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n")
                time.sleep(0.04)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/live"
    server.shutdown()
    server.server_close()


def test_a_camera_behind_an_address(model: mien.FaceModel, camera: str) -> None:
    run = model.video(camera, end=2.5)
    frames = list(run)
    assert run.source.live and run.source.counts.reconnections >= 1
    assert len(frames) > 10 and frames[-1].time > 1
    assert run.tracks and run.tracks[0].frames > 5


def test_an_rtsp_camera_that_is_away_for_longer_than_a_track_may_be(model: mien.FaceModel, face: np.ndarray) -> None:
    pictures = [np.ascontiguousarray(np.roll(cv2.resize(face, (160, 160)), step, axis=1)) for step in range(4)]
    with ExitStack() as first, ExitStack() as second:
        port = first.enter_context(serve_rtsp(pictures))
        run = model.video(f"rtsp://127.0.0.1:{port}/live", end=30)
        cuts = []
        for frame in run:
            cuts.append(frame.cut)
            if len(cuts) == 5:
                first.close()
                again = threading.Timer(1.5, lambda: second.enter_context(serve_rtsp(pictures, port=port)))
                again.start()
            if sum(cuts) and not any(cuts[-4:]):
                break
        run.close()
        again.join()
    assert sum(cuts) == 1 and run.source.counts.reconnections >= 1
    assert len(run.tracks) == 2 and run.tracks[1].start - run.tracks[0].end > 1


def test_a_film_behind_an_address_is_read_whole(tmp_path: Path, face: np.ndarray) -> None:
    from functools import partial

    from tests.video.films import write_film

    write_film(tmp_path / "film.webm", [cv2.resize(face, (160, 160))] * 20, codec="libvpx-vp9")  # type: ignore[list-item]
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = open_source(f"http://127.0.0.1:{server.server_port}/film.webm")
        assert not source.live
        assert len(list(source.frames())) == 20
    finally:
        server.shutdown()
        server.server_close()


def test_a_camera_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UnreadableFilmError, match="camera 97"):
        list(open_source("camera:97").frames())
