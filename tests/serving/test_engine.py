"""Batching across requests: nothing lost, nothing mixed up, and no more queued than the queue holds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

import mien
from mien.inference.prepare import Search
from mien.serving import engine as engine_module
from mien.serving.engine import Job
from mien.serving.refusal import Refusal
from tests.serving.conftest import Start

RAW = {"content-type": "image/jpeg"}


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Workers wait for this event before each image."""
    opened, prepare = threading.Event(), engine_module.prepare_image

    def waiting(*arguments: Any, **options: Any) -> Any:
        opened.wait(120)
        return prepare(*arguments, **options)

    monkeypatch.setattr(engine_module, "prepare_image", waiting)
    yield opened
    opened.set()


def test_concurrent_requests_get_the_answers_of_their_own_images(
    start: Start, bundle: Path, photos: list[bytes]
) -> None:
    model, client = mien.load(bundle), start()
    expected = [[face.to_dict() for face in model(photo).faces] for photo in photos]
    assert len({str(faces) for faces in expected}) == len(photos)

    def ask(number: int) -> bool:
        chosen = [number % 12, (number * 5 + 1) % 12]
        files = [("images", (f"{index}.jpg", photos[index])) for index in chosen]
        results = client.post("/v1/predict", files=files).json()["results"]
        return [result["faces"] for result in results] == [expected[index] for index in chosen]

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(24)))
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["mien_faces_total"]) == 48
    assert float(values["mien_batch_size_sum"]) > float(values["mien_batch_size_count"]), "faces never shared a batch"


def test_a_full_queue_refuses_and_answers_the_rest(start: Start, photo: bytes, held_back: threading.Event) -> None:
    client = start(queue=4, max_images=4, workers=1, batch_size=1)
    with ThreadPoolExecutor(24) as pool:
        calls = [pool.submit(client.post, "/v1/predict", content=photo, headers=RAW) for _ in range(24)]
        deadline = time.monotonic() + 60
        while not any(call.done() for call in calls) and time.monotonic() < deadline:
            time.sleep(0.01)
        held_back.set()
        responses = [call.result() for call in calls]
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses if response.status_code == 429)
    assert client.post("/v1/predict", content=photo, headers=RAW).status_code == 200


def test_the_body_of_a_request_is_not_read_while_the_queue_is_full(
    start: Start, photo: bytes, held_back: threading.Event
) -> None:
    app: Any = start(queue=4, max_images=4, workers=1, batch_size=1).app
    jobs: list[Job] = []
    refused = 0
    while refused < 20:  # The worker draws a few jobs before it waits.
        jobs.append(Job(data=photo, search=Search()))
        try:
            app.state.service.engine.submit(jobs[-1:])
        except Refusal:
            jobs.pop()
            refused += 1
            time.sleep(0.02)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"image/jpeg"), (b"content-length", b"%d" % len(photo))]
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 429 and b"retry-after" in dict(sent[0]["headers"])
    held_back.set()
    assert all(job.future.result(60)[0].status == "ok" for job in jobs)


def test_a_request_past_its_deadline_is_given_up_and_the_next_is_answered(
    start: Start, photo: bytes, held_back: threading.Event
) -> None:
    client = start(deadline=0.2, workers=1)
    late = client.post("/v1/predict", content=photo, headers=RAW)
    assert late.status_code == 429 and "retry-after" in late.headers
    held_back.set()
    # A busy machine may need more than one deadline's time.
    statuses = (client.post("/v1/predict", content=photo, headers=RAW).status_code for _ in range(50))
    assert 200 in statuses


def test_a_model_that_fails_once_costs_the_images_of_that_moment(
    start: Start, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, predict, failures = start(), engine_module.predict_crops, iter([True])

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(failures, False):
            raise mien.BundleError("broken")
        return predict(*arguments, **options)

    monkeypatch.setattr(engine_module, "predict_crops", failing)
    statuses = [client.post("/v1/predict", content=photo, headers=RAW).status_code for _ in range(3)]
    assert statuses == [500, 200, 200]


def test_the_end_waits_for_what_is_queued(start: Start, photo: bytes, held_back: threading.Event) -> None:
    client = start(workers=1)
    service = client.app.state.service
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.post, "/v1/predict", content=photo, headers=RAW) for _ in range(8)]
        while service.held.total < 8 * len(photo):
            time.sleep(0.01)
        time.sleep(0.1)
        service.engine.drain()
        assert client.get("/readyz").status_code == 503
        assert client.post("/v1/predict", content=photo, headers=RAW).status_code == 503
        held_back.set()
        assert [call.result().status_code for call in calls] == [200] * 8
