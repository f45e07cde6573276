"""The files of the page at `/`."""

import json

from tests.serving.conftest import Start


def test_the_page_and_its_files_are_served(start: Start) -> None:
    client = start()
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert 'src="page.js"' in page.text
    script = client.get("/vision/align.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert client.get("/vision/align.js", headers={"If-None-Match": script.headers["etag"]}).status_code == 304


def test_other_files_are_not_served(start: Start) -> None:
    client = start()
    assert client.get("/..%2fweb.py").status_code == 404
    assert client.get("/vision").status_code == 404


def test_the_page_offers_the_tasks_that_the_server_predicts(start: Start) -> None:
    client = start(tasks=("gender",))
    model = json.loads(client.get("/config.json").content)["model"]
    assert [task["name"] for task in model["tasks"]] == ["gender"]


def test_with_keys_the_page_does_not_offer_the_server(start: Start) -> None:
    assert json.loads(start(keys=("secret",)).get("/config.json").content)["server"] is False
