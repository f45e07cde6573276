"""The page in a real browser: keys decide, filters choose, decisions.csv is what prepare reads, 5,000 faces scroll."""

import contextlib
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.data.dataset import open_dataset
from mien.data.decisions import read_decisions
from mien.inspection.coverage import Coverage
from mien.inspection.findings import Finding
from mien.inspection.images import MEASURES, find_unusual
from mien.inspection.inspect import Inspection
from mien.inspection.label_errors import LabelErrors
from mien.inspection.outliers import Outliers
from mien.inspection.page import render
from mien.tasks import AGE, GENDER
from tests.prepared import write_prepared

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
#: Findings of the page that most tests open, and of the one that is scrolled.
FEW, MANY = 60, 5000


def write_page(folder: Path, n: int) -> Path:
    """Write a page of ``n`` findings: two of gender, one of an image, then ages."""
    data = open_dataset(write_prepared(folder / "data", n=n, size=16, name='face "{}", <b>.jpg'))
    nobody = np.zeros(n, np.bool_)

    def errors(task: Any) -> LabelErrors:
        zeros = np.zeros(n)
        return LabelErrors(
            task=task, labelled=~nobody, score=zeros, suspect=nobody, suggested=zeros.astype(np.int64), expected=()
        )

    inspection = Inspection(
        dataset=data,
        rows=np.arange(n),
        splits=tuple(data.manifest["split"]),
        method="made up",
        labels=(errors(GENDER), errors(AGE)),
        images=find_unusual({measure.name: np.full(n, np.nan) for measure in MEASURES}),
        outliers=Outliers(distance=np.zeros(n), limit=1.0, beyond=nobody),
        coverage=Coverage(tasks=("gender",), n=n, cells=()),
        test_figures=(),
    )
    kinds = [("gender", "male", "female"), ("gender", "female", "male"), ("", "", "")]
    findings = [
        Finding(
            face=place,
            task=task,
            label=label,
            suggested=said,
            reasons=("label",) if task else ("blurry",),
            score=0.1,
        )
        for place, (task, label, said) in enumerate(kinds + [("age", "20-29", "61")] * (n - 3))
    ]
    path = folder / "inspection.html"
    path.write_text(render(inspection, findings, n), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("page"), FEW)


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    with opened_page(browser, page_file) as opened:
        yield opened


@contextlib.contextmanager
def opened_page(browser: Any, page_file: Path) -> Iterator[Any]:
    """Open a page; a request to anywhere but the file fails the test."""
    opened = browser.new_context(viewport={"width": 1000, "height": 700}).new_page()
    requests: list[str] = []
    problems: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto(page_file.as_uri())
    yield opened
    assert not problems
    assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    opened.context.close()


def saved(page: Any, tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / "decisions.csv"
    download.value.save_as(path)
    with path.open(encoding="utf-8", newline="") as file:
        return path, list(csv.DictReader(file))


def test_keys_decide_and_the_file_is_what_prepare_reads(page: Any, tmp_path: Path) -> None:
    page.keyboard.press("r")
    page.keyboard.press("2")
    page.keyboard.press("k")
    page.keyboard.press("d")
    page.keyboard.press("r")
    page.keyboard.type("61-69")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    page.keyboard.press("d")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    path, lines = saved(page, tmp_path)
    assert [(each["task"], each["decision"], each["new_label"]) for each in lines] == [
        ("gender", "relabel", "female"),
        ("gender", "keep", ""),
        ("", "drop", ""),
        ("age", "relabel", "61-69"),
        ("age", "not sure", ""),
    ]
    assert lines[0]["name"] == 'face "0", <b>.jpg'
    assert len(read_decisions(path, (GENDER, AGE))) == 5


def test_a_label_that_the_task_lacks_is_not_taken(page: Any, tmp_path: Path) -> None:
    page.select_option("#by-task", "age")
    page.keyboard.press("r")
    page.keyboard.type("300")
    page.keyboard.press("Enter")
    assert page.evaluate("document.getElementById('relabel').open")
    page.keyboard.press("Escape")
    assert saved(page, tmp_path)[1] == []


def test_filters_choose_and_decisions_outlive_a_reload(page: Any) -> None:
    page.select_option("#by-task", "gender")
    assert page.text_content("#count").startswith("2 shown")
    page.select_option("#by-label", "female")
    assert page.text_content("#count").startswith("1 shown")
    page.keyboard.press("k")
    page.reload()
    assert page.text_content("#count") == f"{FEW} shown, 1 decided"
    page.select_option("#by-reason", "blurry")
    assert page.text_content("#count").startswith("1 shown")
    page.select_option("#by-reason", "")
    page.select_option("#by-decision", "undecided")
    assert page.text_content("#count").startswith(f"{FEW - 1} shown")


def test_a_face_enlarges(page: Any) -> None:
    page.keyboard.press("Space")
    assert page.evaluate("document.querySelector('#zoom img').getBoundingClientRect().width") >= 400
    page.keyboard.press("Space")
    assert not page.evaluate("document.getElementById('zoom').open")


def test_thousands_scroll_with_few_elements(browser: Any, tmp_path: Path) -> None:
    with opened_page(browser, write_page(tmp_path, MANY)) as page:
        assert page.text_content("#count").startswith("5,000 shown")
        scroll_through(page)


def scroll_through(page: Any) -> None:
    most = page.evaluate(
        """async () => {
          const grid = document.getElementById("grid");
          let most = 0;
          for (let step = 1; step <= 20; step++) {
            grid.scrollTop = step * grid.scrollHeight / 20;
            await new Promise(requestAnimationFrame);
            most = Math.max(most, document.querySelectorAll(".face").length);
          }
          return most;
        }"""
    )
    assert 0 < most < 120
    page.keyboard.press("End")
    assert page.locator(".face.current").is_visible()
