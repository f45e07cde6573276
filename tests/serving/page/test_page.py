"""People use the page: photos, options, the camera, files that are none, the keyboard, a phone, no network."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Page, Route

import mien
from mien.serving.app import make_app
from mien.serving.settings import Settings
from tests.serving.page.conftest import EXAMPLE, ROOT, Open, choose

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
TEXT = {"name": "letter.jpg", "mimeType": "image/jpeg", "buffer": b"Dear all, this is no photo."}


def picture(name: str, side: int = 24) -> dict[str, Any]:
    """A gray picture without a face, to choose."""
    data = io.BytesIO()
    Image.new("RGB", (side, side), (90, 90, 90)).save(data, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": data.getvalue()}


def saved(page: Page, button: str) -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def texts(page: Page, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def test_a_photo_is_shown_with_its_predictions(page: Page, bundle: Path) -> None:
    choose(page, EXAMPLE)
    expected = mien.load(bundle)(EXAMPLE).faces[0]
    assert texts(page, "#results h3, #results strong") == ["eileen_collins.jpg", "Face 1"]
    found = dict(zip(texts(page, "#results dt"), texts(page, "#results dd"), strict=True))
    assert list(found) == list(expected.predictions)
    assert found["age"].startswith(f"about {expected.age.value:.0f} ({expected.age.low:.0f} to ")
    assert found["gender"].startswith(expected.gender.label or "not sure")
    # The box is drawn: its corner has the colour of the first face.
    x, y, *_ = expected.box
    corner = "(canvas, [x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]"
    assert page.locator("#results canvas").evaluate(corner, [x, y])[:3] == [0, 114, 178]


def test_results_are_saved(page: Page, bundle: Path) -> None:
    choose(page, EXAMPLE, TEXT)
    lines = [json.loads(line) for line in saved(page, "#save-json").decode().splitlines()]
    assert [line["status"] for line in lines] == ["ok", "unreadable"]
    rows = list(csv.DictReader(io.StringIO(saved(page, "#save-csv").decode())))
    face = lines[0]["faces"][0]
    assert [row["path"] for row in rows] == ["eileen_collins.jpg", "letter.jpg"]
    assert (float(rows[0]["age"]), rows[0]["gender"]) == (face["age"]["value"], face["gender"]["label"] or "")
    assert rows[1]["age"] == "" and "cannot be decoded" in rows[1]["reason"]
    drawn = Image.open(io.BytesIO(saved(page, "#results button")))
    assert drawn.size == Image.open(EXAMPLE).size


def test_a_broken_file_does_not_stop_the_others(page: Page) -> None:
    empty = {"name": "empty.jpg", "mimeType": "image/jpeg", "buffer": b""}
    cut = {"name": "cut.jpg", "mimeType": "image/jpeg", "buffer": EXAMPLE.read_bytes()[:300]}
    choose(page, TEXT, empty, cut, picture("gray.png"))
    assert len(page.locator("#results li.photo").all()) == 4
    assert page.inner_text("#status") == "Done: 0 faces in 4 photos; 3 files could not be read."


def test_attributes_and_other_faces_can_be_left_out(page: Page, tmp_path: Path) -> None:
    two, photo = tmp_path / "two.png", Image.open(EXAMPLE)
    both = Image.new("RGB", (2 * photo.width, photo.height))
    both.paste(photo, (0, 0))
    both.paste(photo.resize((300, 300)), (photo.width, 100))
    both.save(two)
    choose(page, two)
    assert texts(page, "#results strong") == ["Face 1", "Face 2"]
    page.check("#largest")
    page.uncheck("#tasks input[value=gender]")
    page.wait_for_selector("#status:has-text('Done: 1 face')")
    assert texts(page, "#results strong") == ["Face 1"]
    assert "gender" not in texts(page, "#results dt")
    assert "gender" not in json.loads(saved(page, "#save-json"))["faces"][0]


@pytest.mark.slow
def test_many_files(page: Page) -> None:
    """Every tenth is a picture, the others are none, which is quicker."""
    choose(page, *(picture(f"{n}.png") if n % 10 == 0 else {**TEXT, "name": f"{n}.png"} for n in range(60)))
    assert page.inner_text("#status") == "Done: 0 faces in 60 photos; 54 files could not be read."
    names = [json.loads(line)["path"] for line in saved(page, "#save-json").splitlines()]
    assert names == [f"{number}.png" for number in range(60)]


def test_a_folder_is_predicted_with_progress(page: Page, tmp_path: Path) -> None:
    """Its pictures, those of its sub-folders too, under their paths; its other files are left out."""
    folder = tmp_path / "album"
    (folder / "2019").mkdir(parents=True)
    for name in ("a.png", "b.png", "2019/c.png"):
        (folder / name).write_bytes(picture(name)["buffer"])
    (folder / "notes.txt").write_text("no picture")
    page.evaluate(
        """() => {
            const bar = document.getElementById("progress");
            window.steps = [];
            new MutationObserver(() => steps.push([bar.value, bar.max])).observe(bar, { attributes: true });
        }"""
    )
    with page.expect_file_chooser() as chooser:
        page.click("#choose-folder")
    chooser.value.set_files(folder)
    page.wait_for_selector("#status:has-text('Done: 0 faces in 3 photos.')")
    assert sorted(texts(page, "#results h3")) == ["album/2019/c.png", "album/a.png", "album/b.png"]
    assert page.is_hidden("#progress")
    steps = page.evaluate("steps.filter(([, most]) => most === 3).map(([value]) => value)")
    assert list(dict.fromkeys(steps)) == [0, 1, 2, 3]


def test_a_run_can_be_stopped(page: Page) -> None:
    page.set_input_files("#files", [picture(f"{number}.png", 300) for number in range(60)])
    page.click("#stop")
    page.wait_for_selector("#status:has-text('Done')")
    done = len(page.locator("#results li.photo").all())
    assert done < 60
    choose(page, picture("later.png"))
    assert texts(page, "#results h3")[-1] == "later.png"
    assert len(page.locator("#results li.photo").all()) == done + 1


def test_the_camera(page: Page) -> None:
    page.context.grant_permissions(["camera"])
    page.click("#camera")
    page.wait_for_selector("#take", state="visible")
    page.click("#take")
    page.wait_for_selector("#status:has-text('Done')")
    page.click("#camera-off")
    assert texts(page, "#results h3")[0].startswith("camera-")
    assert page.is_hidden("#video")


def test_a_photo_is_dropped_and_pasted(page: Page) -> None:
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """async ([event, holder]) => {
                const transfer = new DataTransfer();
                const blob = await new Promise((give) => new OffscreenCanvas(20, 20).getContext("2d")
                    .canvas.convertToBlob().then(give));
                transfer.items.add(new File([blob], `${event}.png`, { type: "image/png" }));
                const Kind = event === "drop" ? DragEvent : ClipboardEvent;
                document.body.dispatchEvent(new Kind(event, { [holder]: transfer, bubbles: true, cancelable: true }));
            }""",
            [event, holder],
        )
        page.wait_for_selector(f"#results h3:has-text('{event}.png')")


def test_the_keyboard_reaches_everything(page: Page) -> None:
    choose(page, picture("gray.png"))
    page.focus("#choose")
    reached = []
    for _ in range(14):
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.value"))
        page.keyboard.press("Tab")
    tasks = [box.get_attribute("value") for box in page.locator("#tasks input").all()]
    wanted = ["choose", "choose-folder", "camera", "device", *tasks, "largest", "save-csv", "save-json", "clear"]
    assert [each for each in dict.fromkeys(reached) if each in wanted] == wanted


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_files_are_chosen_by_the_keyboard(page: Page, key: str) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").press(key)
    chooser.value.set_files([picture("gray.png")])
    page.wait_for_selector("#results h3:has-text('gray.png')")


def test_a_narrow_screen_needs_no_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    choose(page, EXAMPLE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_axe_finds_nothing(open_page: Open, site: str) -> None:
    """Contrast in both schemes, names, roles and order, as WCAG 2.2 and axe's best practices ask."""
    page = open_page(site, bypass_csp=True)
    choose(page, EXAMPLE, TEXT)
    page.add_script_tag(path=AXE)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        run = "async () => (await axe.run()).violations.map((v) => [v.id, v.nodes.map((n) => n.html)])"
        assert page.evaluate(run) == []


@pytest.mark.slow
def test_the_page_works_offline_after_its_first_visit(open_page: Open, site: str) -> None:
    page = open_page(site, service_workers="allow")
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    choose(page, EXAMPLE)
    assert page.inner_text("#status") == "Done: 1 face in 1 photo."


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[str]:
    """`mien serve` with the tiny bundle, on a free port."""
    running = uvicorn.Server(
        uvicorn.Config(make_app(Settings(model=str(bundle), workers=1)), port=0, log_level="error")
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/"
    running.should_exit = True
    thread.join()


def test_device_and_server_give_the_same_results(open_page: Open, server: str) -> None:
    page = open_page(server)
    choose(page, EXAMPLE, TEXT)
    on_device = [json.loads(line) for line in saved(page, "#save-json").splitlines()]
    page.check("input[value=server]")
    page.wait_for_selector("body[data-busy=false] #where-note:has-text('sent to the server')")
    on_server = [json.loads(line) for line in saved(page, "#save-json").splitlines()]
    assert [each["status"] for each in on_server] == [each["status"] for each in on_device] == ["ok", "unreadable"]
    assert on_server[0]["faces"][0]["box"] == on_device[0]["faces"][0]["box"]
    assert on_server[0]["faces"][0]["age"] == pytest.approx(on_device[0]["faces"][0]["age"], abs=0.01)


def test_without_the_runtime_the_page_answers_through_the_server(open_page: Open, server: str) -> None:
    page = open_page(server)

    def without_runtime(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "runtime": False})

    page.route("**/config.json", without_runtime)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.is_disabled("input[value=device]")
    assert "make web" in page.inner_text("#where-note")
    choose(page, EXAMPLE)
    assert page.inner_text("#status") == "Done: 1 face in 1 photo."
