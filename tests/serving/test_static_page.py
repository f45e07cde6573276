"""The static folder at `/`."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from mien.serving.static_page import mount_page


def test_a_folder_with_a_page_is_served_and_its_neighbours_are_not(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<p>here</p>")
    app = FastAPI()
    assert mount_page(app, tmp_path / "page")
    client = TestClient(app)
    assert client.get("/").text == "<p>here</p>"
    assert client.get("/..%2fsecret.txt").status_code == 404


def test_without_a_page_nothing_is_mounted(tmp_path: Path) -> None:
    app = FastAPI()
    assert not mount_page(app, tmp_path)
    assert TestClient(app).get("/").status_code == 404
