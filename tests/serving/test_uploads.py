"""Multipart bodies: names, and bytes that no client should send."""

from __future__ import annotations

import random

from tests.serving.conftest import Start

KIND = {"content-type": "multipart/form-data; boundary=edge"}
HEAD = 'Content-Disposition: form-data; name="images"; filename="é.jpg"'.encode()


def test_file_names_are_utf_8(start: Start) -> None:
    body = b"--edge\r\n" + HEAD + b"\r\n\r\nx\r\n--edge--\r\n"
    (result,) = start().post("/v1/predict", content=body, headers=KIND).json()["results"]
    assert result["path"] == "é.jpg"


def test_changed_bytes_are_never_an_error_of_the_server(start: Start) -> None:
    client, chance = start(), random.Random(0)
    body = (
        b"--edge\r\n"
        + HEAD
        + b"\r\n\r\nx\r\n--edge\r\n"
        + HEAD
        + b"\r\nContent-Type: image/png\r\n\r\ny\r\n--edge--\r\n"
    )
    statuses = set()
    for _ in range(120):
        changed = bytearray(body)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        del changed[chance.randrange(len(changed) // 2, 2 * len(changed)) :]
        statuses.add(client.post("/v1/predict", content=bytes(changed), headers=KIND).status_code)
    assert statuses == {200, 422}
