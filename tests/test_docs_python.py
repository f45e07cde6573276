"""Every Python block of README.md and docs/*.md runs and passes `mypy --strict`.

The scheme: a block is a whole program. It runs in this process, or in one of its own where it starts others itself, and
in a folder in which every name with an image's suffix that it mentions is a copy of the example photo, every film shows
it, ``photos`` is a folder of two, and names that begin with ``data/`` or ``runs/data`` are small prepared folders. The
block of docs/serve.md asks a server: tests/test_docs_serve.py runs it. That of docs/hub.md asks a Hub:
tests/integrations/test_hub.py does.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prepared import write_prepared
from tests.video.films import write_film

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "eileen_collins.jpg"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
IMAGE_NAME = re.compile(r'"([\w./-]+\.(?:jpg|jpeg|png))"')
FILM_NAME = re.compile(r'"([\w./-]+\.mp4)"')
DATA_NAME = re.compile(r'"((?:data|runs/data)[\w./-]*)"')

#: Each once, under the first page that has it.
FOUND = {
    block: f"{page.relative_to(ROOT).as_posix()}-{number}"
    for page in reversed(PAGES)
    for number, block in reversed(list(enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1)))
}
BLOCKS = [pytest.param(block, id=name) for block, name in reversed(FOUND.items())]


def lay_out(block: str, folder: Path) -> None:
    """Put what a block names into a folder."""
    for name in ["photos/a.jpg", "photos/b.jpg", *IMAGE_NAME.findall(block)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLE, folder / name)
    for name in set(FILM_NAME.findall(block)):
        photo = np.asarray(Image.open(EXAMPLE).convert("RGB").resize((256, 256)))
        write_film(folder / name, [photo] * 5)
    for name in set(DATA_NAME.findall(block)):
        write_prepared(folder / name)


def test_the_front_page_shows_python() -> None:
    assert any(block.id is not None and block.id.startswith("README.md") for block in BLOCKS)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if not str(block.id).startswith(("docs/serve.md", "docs/hub.md"))]
)
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(block, tmp_path)
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    if '__name__ == "__main__"' not in block:
        monkeypatch.chdir(tmp_path)
        runpy.run_path("block.py", run_name="__main__")
        return
    done = subprocess.run(
        [sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


SCRIPT = """
import io
from pathlib import Path
import cv2
import numpy as np
from PIL import Image
import mien

model = mien.load("default", tasks=["age"], min_size=20, channel_order="bgr")
frame = cv2.imread("photo.jpg")
assert frame is not None
for image in (frame, np.zeros((4, 4, 3), np.uint8), b"", io.BytesIO(), Path("a"), "a", Image.new("RGB", (4, 4))):
    result = model(image, largest=True)
with open("a", "rb") as file:
    result = model(file)
for result in model.predict([Path("a"), Path("b")], cropped=True, workers=None):
    for face in result.faces:
        years: float = face.age.value + face.age.low
        label: str | None = face.gender.label
        likely: float = face.gender.probability
        glasses = face["glasses"]
        if isinstance(glasses, mien.NominalPrediction):
            print(glasses.probabilities["yes"], glasses.abstained)
        if face.landmarks is not None:
            x, y = face.landmarks[0]
            total: float = x + y
        box: tuple[int, int, int, int] = face.box
table = mien.to_dataframe(model.predict(["a"]))
print(table["age"].mean(), result.to_dict(), model.tasks["age"].kind, model.card, model.licences)
cv2.imwrite("b.png", mien.draw(frame, result, channel_order="bgr"))
report = mien.evaluate(model, "data/prepared", split="test")
print(report.n, report.tasks["age"])
try:
    model("a")
except mien.MienError as error:
    print(error)
"""


def test_python_blocks_and_a_users_script_pass_mypy_strict(tmp_path: Path) -> None:
    """What no block names is not followed: reading PyTorch's types takes most of the time otherwise."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"block_{number}.py").write_text(str(block.values[0]), encoding="utf-8")
    unused = "[mypy]\n[mypy-torch.*,torchvision.*,lightning.*,timm.*,ray.*]\nfollow_imports = skip\n"
    (tmp_path / "mypy.ini").write_text(unused, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache" / "docs"), "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
