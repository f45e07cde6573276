"""Who may ask, and what goes with every response."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien.errors import UsageError
from mien.serving.settings import Settings, read_keys
from tests.serving.conftest import Start

KEY, OTHER = "k" * 16, "o" * 20
RAW = {"content-type": "image/jpeg"}


def test_a_key_is_asked_for_and_either_header_takes_it(start: Start) -> None:
    client = start(keys=(KEY, OTHER))
    given = [
        {},
        {b"x-api-key": KEY.encode()},
        {b"authorization": f"Bearer {OTHER}".encode()},
        {b"x-api-key": KEY[:-1].encode()},
        {b"x-api-key": "é".encode()},
    ]
    statuses = [
        client.post("/v1/predict", content=b"x", headers={b"content-type": b"image/jpeg", **key}).status_code
        for key in given
    ]
    assert statuses == [401, 200, 200, 401, 401]
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert client.get("/metrics").status_code == client.get("/v1/model").status_code == 401


def test_the_rate_is_of_each_key(start: Start) -> None:
    client = start(keys=(KEY, OTHER), rate=2)
    statuses = [
        client.post("/v1/predict", content=b"x", headers={**RAW, "x-api-key": key}).status_code
        for key in (KEY, KEY, KEY, OTHER)
    ]
    assert statuses == [200, 200, 429, 200]


def test_pages_of_other_sites_are_refused_unless_named(start: Start) -> None:
    page = {**RAW, "sec-fetch-site": "cross-site", "origin": "https://a.example"}
    closed, opened = start(), start(origins=("https://a.example",))
    refused, allowed = (client.post("/v1/predict", content=b"x", headers=page) for client in (closed, opened))
    assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
    assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize("path", ["/healthz", "/v1/predict", "/no-such-path"])
def test_security_headers_go_with_every_response(start: Start, path: str) -> None:
    headers = start().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# of the shop\n{KEY}\n\n  {OTHER}\n")
    assert read_keys(file) == (KEY, OTHER)
    for text in ("", "# nothing\n", "short\n", f"{KEY} {OTHER}\n", "é" * 20):
        file.write_text(text)
        with pytest.raises(UsageError):
            read_keys(file)
    with pytest.raises(UsageError):
        read_keys(tmp_path / "missing.txt")


def test_settings_list_all_that_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"queue.*deadline.*max_held"):
        Settings(queue=0, deadline=0.0, max_held=1)


def test_keys_are_never_shown() -> None:
    assert KEY not in repr(Settings(keys=(KEY,)))
