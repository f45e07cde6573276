"""Chromium, and the page as a static folder with a model of a few kilobytes or with the default model."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mien.inference.bundle import load_bundle
from mien.serving.middleware import SECURITY_HEADERS
from mien.serving.web import CONTENT_TYPES, has_runtime, write_site

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "eileen_collins.jpg"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: A busy machine compiles 14 MB of WebAssembly slowly.
PATIENCE = 120_000

Open = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests out where there is no Chromium or no runtime, and say so."""
    here = Path(__file__).parent
    missing = "Chromium is not installed" if CHROMIUM is None else "run make web first" if not has_runtime() else None
    for item in items if missing else ():
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window, with a camera that shows a test picture."""
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; yield its address."""

    class Handler(SimpleHTTPRequestHandler):
        extensions_map: ClassVar = dict(CONTENT_TYPES)

        def end_headers(self) -> None:
            for name, value in SECURITY_HEADERS.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def site(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page with the tiny bundle."""
    folder = tmp_path_factory.mktemp("site")
    write_site(folder, load_bundle(bundle))
    with served(folder) as address:
        yield address


@contextlib.contextmanager
def opening(browser: Browser) -> Iterator[Open]:
    """Yield what opens an address. Fail where a page asked another origin for anything, or raised an error."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def begin(address: str, *, service_workers: Literal["allow", "block"] = "block", **options: Any) -> Page:
        context = browser.new_context(service_workers=service_workers, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        context.on("request", lambda request: own(request.url) or problems.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))

        def own(url: str) -> bool:
            return url.startswith((address, f"blob:{address}"))

        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    yield begin
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open pages for one test; see `opening`."""
    with opening(browser) as begin:
        yield begin


@pytest.fixture(scope="module")
def shared(browser: Browser, site: str) -> Iterator[Page]:
    """A page with the tiny bundle for all tests of a module: its model is loaded once."""
    with opening(browser) as begin:
        yield begin(site)


@pytest.fixture
def page(shared: Page) -> Page:
    """The shared page as it was when it was opened."""
    shared.set_viewport_size({"width": 1100, "height": 900})
    if shared.is_visible("#clear"):
        shared.click("#clear")
    for box in shared.locator("#tasks input").all():
        box.check()
    shared.uncheck("#largest")
    return shared


def choose(page: Page, *files: Path | dict[str, Any]) -> None:
    """Choose files, by their paths or as `Page.set_input_files` takes contents, and wait until they are predicted."""
    contents = [payload(file) if isinstance(file, Path) else file for file in files]
    page.set_input_files("#files", contents)
    page.wait_for_selector("#status:has-text('Done')")


def payload(path: Path) -> dict[str, Any]:
    """The content of a file as the browser gets it."""
    kind = {".png": "image/png", ".webp": "image/webp"}.get(path.suffix, "image/jpeg")
    return {"name": path.name, "mimeType": kind, "buffer": path.read_bytes()}
