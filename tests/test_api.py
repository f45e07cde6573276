"""`import mien`: what a program gets of it, and what wrong use is told."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.tasks import AGE, GENDER, Task
from tests.bundles import write_tiny_bundle
from tests.prepared import write_prepared

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "eileen_collins.jpg"
GLASSES = Task(name="glasses", kind="nominal", classes=("no", "yes"))
#: What `import mien` must not import; all but the last three not even when every name has been used.
HEAVY = ("torch", "lightning", "pandas", "matplotlib", "sklearn", "fastapi", "ray", "cv2", "onnxruntime", "numpy")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny.onnx"
    return write_tiny_bundle(path, (AGE, GENDER, GLASSES), size=32, crop_size=48)


@pytest.fixture(scope="module")
def model(bundle: Path) -> mien.FaceModel:
    return mien.load(bundle)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    with Image.open(EXAMPLE) as image:
        return np.array(image.convert("RGB"))


def test_importing_is_light_and_loads_on_first_use() -> None:
    code = (
        f"import sys, mien; print([m for m in {HEAVY!r} if m in sys.modules]);"
        "[getattr(mien, name) for name in mien.__all__ if name not in ('evaluate', 'Evaluation')];"
        f"print([m for m in {HEAVY[:7]!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout.split() == ["[]", "[]"]
    with pytest.raises(AttributeError, match="no attribute 'predict_images'"):
        mien.predict_images  # type: ignore[attr-defined]  # noqa: B018


def test_a_face_has_its_predictions_by_name(model: mien.FaceModel) -> None:
    result = model(EXAMPLE)
    face = result.faces[0]
    assert result.path == str(EXAMPLE)
    assert result.model == model.name
    assert face.age.low <= face.age.value <= face.age.high
    assert face.gender.label in ("male", "female", None)
    assert face["glasses"] == face.predictions["glasses"]
    assert face.landmarks is not None
    x, y, width, height = face.box
    assert all(x <= px <= x + width and y <= py <= y + height for px, py in face.landmarks)
    assert list(model.tasks) == ["age", "gender", "glasses"]


@pytest.mark.parametrize("task", ["ethnicity", "smile"])
def test_an_absent_task_lists_those_present(model: mien.FaceModel, task: str) -> None:
    face = model(EXAMPLE).faces[0]
    with pytest.raises(mien.UnknownTaskError, match=f"'{task}' .*age, gender, glasses"):
        getattr(face, task) if task == "ethnicity" else face[task]


def test_every_kind_of_input_gives_the_same(model: mien.FaceModel, pixels: np.ndarray) -> None:
    data = EXAMPLE.read_bytes()
    with EXAMPLE.open("rb") as file, Image.open(EXAMPLE) as image:
        sources = [
            EXAMPLE,
            str(EXAMPLE),
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            file,
            image,
            pixels,
        ]
        results = [model(source) for source in sources]
        assert list(model.predict([image, io.BytesIO(data)])) == [results[-1], results[-1]]
    assert all(result.faces == results[0].faces for result in results)
    assert {result.path for result in results} == {str(EXAMPLE), ""}


def test_bgr_arrays_of_opencv(bundle: Path, model: mien.FaceModel, pixels: np.ndarray) -> None:
    of_opencv = mien.load(bundle, channel_order="bgr")
    assert of_opencv(pixels[:, :, ::-1]).faces == model(pixels).faces
    assert of_opencv(EXAMPLE).faces == model(EXAMPLE).faces


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_pillow_are_upright_and_converted(model: mien.FaceModel, pixels: np.ndarray, mode: str) -> None:
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, 1))).convert(mode)
    turned.getexif()[274] = 6
    result = model(turned)
    assert (result.width, result.height, len(result.faces)) == (512, 512, 1)
    assert np.abs(np.subtract(result.faces[0].box, model(pixels).faces[0].box)).max() <= 12


def test_faces_can_be_left_out(bundle: Path, pixels: np.ndarray) -> None:
    small = np.array(Image.fromarray(pixels).resize((256, 256)))
    both = np.hstack([pixels, np.vstack([small, small[::-1, ::-1] * 0])])
    found = mien.load(bundle)(both)
    assert len(found.faces) == 2
    assert mien.load(bundle)(both, largest=True).faces == found.faces[:1]
    assert mien.load(bundle, min_size=60)(both).faces == found.faces[:1]
    none = mien.load(bundle, min_score=1.0)(both)
    assert (none.status, none.reason) == (
        "no_face", "None of the 2 faces found reaches the least score and size asked for.",
    )  # fmt: skip
    assert len(mien.load(bundle, min_size=10_000)(both, cropped=True).faces) == 1


def test_a_crop_without_a_face_has_no_landmarks(model: mien.FaceModel) -> None:
    result = model(np.full((50, 40, 3), 90, np.uint8), cropped=True)
    assert (result.faces[0].score, result.faces[0].landmarks, result.faces[0].box) == (None, None, (0, 0, 40, 50))


def closed() -> io.BytesIO:
    file = io.BytesIO(b"")
    file.close()
    return file


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "a path, bytes, .*got None"),
        (7, "a path, bytes, .*got int 7"),
        (np.zeros((4, 4, 3)), "uint8.*got float64"),
        (np.zeros((4, 4), np.uint8), "height x width x 3.*got uint8, 4 x 4"),
        (["a.jpg"], "a path, bytes, .*got list"),
        (closed(), "open binary file, got a closed one"),
        (io.StringIO("text"), "binary mode .*gives str"),
    ],
)
def test_what_is_no_image_is_one_sentence(model: mien.FaceModel, image: object, words: str) -> None:
    with pytest.raises(mien.UsageError, match=words):
        model(image)  # type: ignore[arg-type]
    with pytest.raises(mien.UsageError, match=words):
        list(model.predict([image]))  # type: ignore[list-item]


@pytest.mark.parametrize("images", ["a.jpg", Path("a.jpg"), b"data", io.BytesIO(), None, np.zeros((9, 9, 3), np.uint8)])
def test_one_image_is_no_list_of_images(model: mien.FaceModel, images: object) -> None:
    with pytest.raises(mien.UsageError, match=r"Expected a list .* model\(image\)"):
        model.predict(images)  # type: ignore[arg-type]
    with Image.open(EXAMPLE) as image, pytest.raises(mien.UsageError, match="Expected a list"):
        model.predict(image)  # type: ignore[arg-type]


def test_a_stack_of_arrays_is_several_images(model: mien.FaceModel, pixels: np.ndarray) -> None:
    assert [len(result.faces) for result in model.predict(np.stack([pixels, pixels]))] == [1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": "age"}, r"tasks=\['age'\]"),
        ({"tasks": ["smile"]}, "smile; known here: age, gender, glasses"),
        ({"min_score": 2}, "min_score from 0 to 1, got 2"),
        ({"min_size": -1}, "min_size of 0 or more pixels, got -1"),
        ({"threads": 0}, "threads of 1 or more, got 0"),
        ({"threads": "2"}, "threads of 1 or more, got '2'"),
        ({"min_score": "a"}, "min_score from 0 to 1, got 'a'"),
        ({"tasks": [1]}, "Unknown task 1"),
        ({"channel_order": "BGR"}, "'rgb' or 'bgr', got 'BGR'"),
    ],
)
def test_wrong_options_are_one_sentence(bundle: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(mien.UsageError, match=words):
        mien.load(bundle, **options)  # type: ignore[arg-type]


def test_a_model_that_is_not_there_lists_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(mien.BundleError, match=r"default, .*small"):
        mien.load("smal")
    with pytest.raises(mien.BundleError, match="directory"):
        mien.load(tmp_path)
    with pytest.raises(mien.UsageError, match=r"default, .*got None"):
        mien.load(None)  # type: ignore[arg-type]
    assert mien.bundled_models()[0] == "default"


def test_models_can_be_pickled_and_go_to_processes(
    bundle: Path, model: mien.FaceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    relative = mien.load(bundle.name, tasks=["age"], min_size=20)
    monkeypatch.chdir(tmp_path)
    copy = pickle.loads(pickle.dumps(relative))
    assert (copy.name, list(copy.tasks)) == (model.name, ["age"])
    assert copy(EXAMPLE) == relative(EXAMPLE)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert next(pool.map(model, [EXAMPLE])) == model(EXAMPLE)


def test_results_become_a_table(model: mien.FaceModel, pixels: np.ndarray) -> None:
    pd = pytest.importorskip("pandas")
    nothing = np.zeros((40, 40, 3), np.uint8)
    table = mien.to_dataframe(model.predict([np.hstack([pixels, pixels]), nothing, b"x"]), landmarks=True)
    assert list(table["status"]) == ["ok", "ok", "no_face", "unreadable"]
    assert list(table["face"].dropna()) == [1, 2]
    assert str(table["width"].dtype) == "Int64"
    assert {"age", "age_low", "glasses", "glasses_p_yes", "nose_x"} <= set(table.columns)
    assert list(mien.to_dataframe([]).columns)[:2] == ["path", "status"]
    assert len(mien.to_dataframe(model(pixels))) == 1
    assert pd.isna(table["age"].iloc[2])
    with pytest.raises(mien.UsageError, match="got int"):
        mien.to_dataframe([1])  # type: ignore[list-item]


def test_the_annotated_picture(model: mien.FaceModel, pixels: np.ndarray) -> None:
    result = model(EXAMPLE)
    picture = mien.draw(EXAMPLE, result)
    assert (picture.dtype, picture.shape) == (np.uint8, pixels.shape)
    assert (picture != pixels).any()
    turned = mien.draw(pixels[:, :, ::-1], result, channel_order="bgr")
    assert (turned[:, :, ::-1] == mien.draw(pixels, result)).all()
    with pytest.raises(mien.UsageError, match="could be read; this one is unreadable"):
        mien.draw(EXAMPLE, model("absent.jpg"))
    with pytest.raises(mien.UsageError, match="512 x 512 pixels; got one of 9 x 9"):
        mien.draw(np.zeros((9, 9, 3), np.uint8), result)


def test_a_model_is_evaluated_on_prepared_data(model: mien.FaceModel, tmp_path: Path) -> None:
    found = mien.evaluate(model, write_prepared(tmp_path / "data", size=48), split="test", resamples=10)
    assert isinstance(found, mien.Evaluation)
    assert (found.n, found.split) == (30, "test")
    assert {"age", "gender"} <= set(found.tasks)


def test_landmarks_are_written_on_request(model: mien.FaceModel) -> None:
    result = model(EXAMPLE)
    assert "landmarks" not in result.to_dict()["faces"][0]  # type: ignore[index]
    assert len(result.to_dict(landmarks=True)["faces"][0]["landmarks"]) == 5  # type: ignore[index]
