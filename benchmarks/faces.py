"""Face images for a benchmark: UTKFace files with their labels, or made from the sample photo where there are none.

In: a folder of UTKFace files or a prepared data folder. Out: a seeded sample of `LabelledFace`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.facts import REPOSITORY
from mien.errors import UsageError
from mien.tasks import AGE, GENDER
from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector

PHOTO = REPOSITORY / "examples" / "eileen_collins.jpg"
#: AGE_GENDER_RACE_DATE.jpg; names that lack a field are left out.
UTKFACE_NAME = re.compile(r"(\d{1,3})_([01])_[0-4]_\d+\s*\.?jpg", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LabelledFace:
    """One face image: ``age`` in years, ``gender`` as in `mien.tasks.GENDER`."""

    path: Path
    age: int
    gender: str


def utkface_files(folder: Path) -> list[LabelledFace]:
    """Return all fully named UTKFace files below the folder, sorted by name."""
    faces = []
    for path in sorted(folder.rglob("*.jpg")):
        name = UTKFACE_NAME.match(path.name)
        if name and int(name[1]) <= AGE.highest:
            faces.append(LabelledFace(path=path, age=int(name[1]), gender=GENDER.classes[int(name[2])]))
    if not faces:
        raise UsageError(f"{folder} must hold UTKFace files named AGE_GENDER_RACE_DATE.jpg; none was found.")
    return faces


def prepared_split(data: Path, split: str) -> list[LabelledFace]:
    """Return the UTKFace files of one split of a folder that `mien prepare` wrote, with exact age and a gender."""
    from mien.data.dataset import open_dataset

    dataset = open_dataset(data)
    rows = dataset.manifest.iloc[dataset.rows(split)]
    rows = rows[(rows["source"] == "utkface") & (rows["age_low"] == rows["age_high"]) & rows["gender"].notna()]
    faces = [
        LabelledFace(path=Path(path), age=int(age), gender=str(gender))
        for path, age, gender in zip(rows["path"], rows["age_low"], rows["gender"], strict=True)
    ]
    absent = [face.path for face in faces if not face.path.is_file()]
    if absent or not faces:
        raise UsageError(
            f"Split {split!r} of {data} must name UTKFace files that exist; "
            + (f"{len(absent)} do not, such as {absent[0]}." if absent else "it names none.")
        )
    return faces


def sample(faces: list[LabelledFace], count: int, seed: int) -> list[LabelledFace]:
    """``count`` faces (all, where there are fewer) in random order; same seed, same faces."""
    return random.Random(seed).sample(faces, min(count, len(faces)))


def sample_paths(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """``count`` image files of the folder, labels or none, in random order; same seed, same files."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if not paths:
        raise UsageError(f"{folder} must hold JPEG, PNG or WebP images; none was found.")
    return random.Random(seed).sample(paths, min(count, len(paths)))


def made_from_photo(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """``count`` JPEG files of 200 x 200 pixels, the sample photo's face in slightly different frames."""
    image = decode_image(PHOTO)
    face = FaceDetector().detect(image)[0]
    x, y, width, height = face.box
    random_state = np.random.default_rng(seed)
    paths = []
    for index in range(count):
        side = float(max(width, height) * random_state.uniform(1.3, 1.6))
        centre_x, centre_y = x + width / 2 + random_state.normal(0, 4), y + height / 2 + random_state.normal(0, 4)
        box = (centre_x - side / 2, centre_y - side / 2, centre_x + side / 2, centre_y + side / 2)
        path = folder / f"face-{index:05d}.jpg"
        Image.fromarray(image).resize((200, 200), Image.Resampling.LANCZOS, box=_inside(box, image.shape)).save(path)
        paths.append(path)
    return paths


def _inside(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    height, width = shape[:2]
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
