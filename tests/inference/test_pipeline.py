"""Prediction of one image and of streams of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.errors import MienError, UsageError
from mien.inference import image_source, stream
from mien.inference.bundle import Bundle, load_bundle
from mien.inference.metadata import BundleError
from mien.inference.pipeline import BATCH_SIZE, predict_image, predict_images
from mien.inference.postprocess import predict_faces
from mien.inference.prepare import Search
from mien.types import ImageResult, NominalPrediction
from mien.vision.align import CropRecipe, align_face
from mien.vision.decode import decode_image
from mien.vision.detect import FaceDetector
from mien.vision.resize import resize_crops
from tests.bundles import write_tiny_bundle


def listed(photos: Path) -> list[Path]:
    return sorted(photos.iterdir())


def close_to(one: ImageResult, other: ImageResult) -> bool:
    """The same but for the last digits, which the batch's size may change."""
    if [face.box for face in one.faces] != [face.box for face in other.faces] or one.status != other.status:
        return False
    pairs = zip(one.faces, other.faces, strict=True)
    return all(
        np.isclose(a.predictions["age"].value, b.predictions["age"].value, atol=0.02)  # type: ignore[union-attr]
        and a.predictions["gender"].label == b.predictions["gender"].label  # type: ignore[union-attr]
        for a, b in pairs
    )


def test_answers_are_those_of_the_parts_put_together(bundle: Bundle, portrait: np.ndarray) -> None:
    """Decode, detect, align at the crop size, shrink, run, answer: by hand."""
    result = predict_image(portrait, bundle)
    face = FaceDetector().detect_main(portrait)
    assert face is not None
    crop = resize_crops(align_face(portrait, face.landmarks, 48)[None], 32)
    outputs = bundle.run(crop)
    assert result.status == "ok"
    assert (result.width, result.height) == (512, 512)
    assert [found.box for found in result.faces] == [face.box]
    for task in bundle.tasks:
        expected = predict_faces(task, bundle.metadata.calibration[task.name], outputs[task.name])[0]
        assert result.faces[0].predictions[task.name] == expected


@pytest.mark.parametrize("cropped", [False, True])
def test_a_bundle_sees_the_frame_that_it_was_trained_on(portrait: np.ndarray, tmp_path: Path, cropped: bool) -> None:
    recipe = CropRecipe(eye_distance=0.24, edges="grey")
    wide = load_bundle(write_tiny_bundle(tmp_path / "wide.onnx", size=32, crop_size=48, crop=recipe))
    assert wide.metadata.crop == recipe
    face = FaceDetector().detect_main(portrait)
    assert face is not None
    crop = resize_crops(align_face(portrait, face.landmarks, 48, recipe)[None], 32)
    expected = predict_faces(wide.tasks[0], wide.metadata.calibration["age"], wide.run(crop)["age"])[0]
    search = Search(cropped=cropped)
    assert predict_image(portrait, wide, search=search).faces[0].predictions["age"] == expected
    (tmp_path / "face.png").write_bytes(cv2.imencode(".png", portrait[:, :, ::-1])[1].tobytes())
    (result,) = predict_images([tmp_path / "face.png"], wide, search=search)
    assert result.faces[0].predictions["age"] == expected


def test_a_stream_gives_what_single_images_give_in_order(bundle: Bundle, photos: Path) -> None:
    paths = listed(photos) * 5
    results = list(predict_images(paths, bundle, batch_size=3, workers=3))
    assert [result.path for result in results] == [str(path) for path in paths]
    assert [result.status for result in results] == ["ok", "ok", "no_face", "unreadable"] * 5
    assert [len(result.faces) for result in results] == [1, 2, 0, 0] * 5
    for path, result in zip(paths, results, strict=True):
        assert close_to(result, predict_image(path, bundle))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_and_workers_change_nothing(bundle: Bundle, photos: Path, batch_size: int, workers: int) -> None:
    paths = listed(photos) * 3
    results = list(predict_images(paths, bundle, batch_size=batch_size, workers=workers))
    assert [len(result.faces) for result in results] == [1, 2, 0, 0] * 3
    assert all(set(face.predictions) == {"age", "gender", "ethnicity"} for result in results for face in result.faces)


def test_no_sources_give_no_results(bundle: Bundle) -> None:
    assert list(predict_images([], bundle)) == []


def test_each_face_gets_its_own_answers_when_batches_mix_images(bundle: Bundle, tmp_path: Path) -> None:
    """Pictures of one colour each: the tiny model's answer depends on the colour alone."""
    colours = np.random.default_rng(3).integers(0, 256, (23, 3))
    for number, colour in enumerate(colours):
        Image.new("RGB", (60, 60), tuple(int(c) for c in colour)).save(tmp_path / f"{number:02}.png")
    paths = sorted(tmp_path.iterdir())
    results = list(predict_images(paths, bundle, search=Search(cropped=True), batch_size=4, workers=4))
    for colour, result in zip(colours, results, strict=True):
        pixels = np.broadcast_to(colour.astype(np.uint8)[None, :, None, None], (1, 3, 32, 32))
        outputs = bundle.run(np.ascontiguousarray(pixels))
        gender = result.faces[0].predictions["gender"]
        assert isinstance(gender, NominalPrediction)
        np.testing.assert_allclose(list(gender.probabilities.values()), outputs["gender"][0], atol=1e-5)


def test_only_the_chosen_tasks_are_answered(bundle: Bundle, photos: Path) -> None:
    result = next(predict_images(listed(photos), bundle, tasks=["gender"]))
    assert list(result.faces[0].predictions) == ["gender"]
    assert "age" not in result.to_dict()["faces"][0]  # type: ignore[index]


def test_ready_made_crops_give_exactly_one_face(bundle: Bundle, photos: Path) -> None:
    results = list(predict_images(listed(photos), bundle, search=Search(cropped=True)))
    assert [(result.status, len(result.faces)) for result in results] == [
        ("ok", 1), ("ok", 1), ("ok", 1), ("unreadable", 0),
    ]  # fmt: skip
    aligned, whole = results[0].faces[0], results[2].faces[0]
    assert aligned.score is not None
    assert aligned.score > 0.8
    assert (whole.box, whole.score) == ((0, 0, 90, 60), None)


def test_memory_is_bounded_sources_are_drawn_as_results_are_taken(bundle: Bundle, photos: Path) -> None:
    drawn = 0

    def endless() -> Iterator[Path]:
        nonlocal drawn
        while True:
            drawn += 1
            yield photos / "c none.png"

    results = predict_images(endless(), bundle, batch_size=4, workers=2)
    for _ in range(3):
        next(results)
    time.sleep(0.2)
    assert 3 <= drawn <= 3 + 2 * 4 + 4 * 2 + 1
    results.close()  # type: ignore[attr-defined]


def test_a_slow_producer_withholds_no_finished_result(bundle: Bundle, photos: Path) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[Path]:
        yield photos / "a one.jpg"
        assert go_on.wait(30)
        yield photos / "b two.png"

    results = predict_images(slow(), bundle, batch_size=32)
    assert len(next(results).faces) == 1  # Comes although the batch is not full and the producer is not done.
    go_on.set()
    assert [len(result.faces) for result in results] == [2]


def test_a_photo_of_many_faces_is_split_over_batches(
    bundle: Bundle, portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = 8, 12
    small = cv2.resize(portrait[20:230, 110:330], (110, 105), interpolation=cv2.INTER_AREA)
    Image.fromarray(np.tile(small, (rows, columns, 1))).save(tmp_path / "crowd.png")
    sizes: list[int] = []
    original = Bundle.run

    def counted(self: Bundle, crops: np.ndarray, tasks: object = None) -> object:
        sizes.append(len(crops))
        return original(self, crops, tasks)  # type: ignore[arg-type]

    monkeypatch.setattr(Bundle, "run", counted)
    result = next(predict_images([tmp_path / "crowd.png"], bundle, batch_size=10))
    assert len(result.faces) >= 0.9 * rows * columns
    assert sum(sizes) == len(result.faces)
    assert max(sizes) <= 10
    sizes.clear()
    assert len(predict_image(tmp_path / "crowd.png", bundle).faces) == len(result.faces)
    assert max(sizes) <= BATCH_SIZE


def test_an_unexpected_error_on_one_image_costs_no_other(
    bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = image_source.open_photo

    def failing(source: object, **rest: object) -> object:
        if "two" in str(source):
            raise ZeroDivisionError("surprise")
        return original(source, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(image_source, "open_photo", failing)
    results = list(predict_images(listed(photos), bundle))
    assert [result.status for result in results] == ["ok", "unreadable", "no_face", "unreadable"]
    assert "ZeroDivisionError: surprise" in str(results[1].reason)


def test_missing_detector_weights_stop_the_work(bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_detector(self: Search) -> FaceDetector:
        raise MienError("The face detector's weights are missing.")

    monkeypatch.setattr(Search, "detector", no_detector)
    with pytest.raises(MienError, match="weights are missing"):
        list(predict_images(listed(photos), bundle))


def test_a_failing_model_stops_the_work(bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Bundle, crops: np.ndarray, tasks: object = None) -> object:
        raise BundleError("The model gave numbers that are not finite.")

    monkeypatch.setattr(Bundle, "run", broken)
    with pytest.raises(BundleError, match="not finite"):
        list(predict_images(listed(photos) * 20, bundle))


def test_a_failing_source_iterator_reaches_the_caller(bundle: Bundle, photos: Path) -> None:
    def sources() -> Iterator[Path]:
        yield photos / "a one.jpg"
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        list(predict_images(sources(), bundle))


def test_stopping_early_ends_the_threads(bundle: Bundle, photos: Path) -> None:
    before = cv2.getNumThreads()
    results = predict_images(listed(photos) * 50, bundle, workers=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(t.name.startswith("mien") for t in threading.enumerate()):
        time.sleep(0.01)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("mien")]
    assert cv2.getNumThreads() == before


def test_streams_side_by_side_do_not_disturb_each_other(bundle: Bundle, photos: Path) -> None:
    before = cv2.getNumThreads()
    one, other = (predict_images(listed(photos) * 4, bundle, batch_size=2) for _ in range(2))
    pairs = list(zip(one, other, strict=True))
    assert cv2.getNumThreads() == before
    assert len(pairs) == 16
    assert all(close_to(a, replace(b)) for a, b in pairs)


@pytest.mark.parametrize("options", [{"tasks": ["agee"]}, {"tasks": []}, {"batch_size": 0}, {"workers": 0}])
def test_wrong_options_fail_at_the_call_not_at_the_first_result(bundle: Bundle, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        predict_images(["a.jpg"], bundle, **options)  # type: ignore[arg-type]


def test_an_unknown_task_lists_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="smile; known here: age, gender, ethnicity"):
        predict_image("a.jpg", bundle, tasks=["smile"])


def test_bytes_pixels_and_path_give_the_same(bundle: Bundle, photos: Path) -> None:
    path = photos / "a one.jpg"
    results = [predict_image(source, bundle) for source in (path, str(path), path.read_bytes(), decode_image(path))]
    assert [result.path for result in results] == [str(path), str(path), "", ""]
    assert all(result.faces == results[0].faces for result in results)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((40, 40, 3), np.float32),
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((3, 40, 40), np.uint8),
        np.zeros((0, 40, 3), np.uint8),
        np.zeros((40, 40, 3), np.int64),
    ],
)
def test_arrays_that_are_no_rgb_bytes_are_refused_not_guessed(bundle: Bundle, array: np.ndarray) -> None:
    with pytest.raises(UsageError, match="uint8, height x width x 3"):
        predict_image(array, bundle)


def test_a_view_that_is_not_contiguous_is_fine(bundle: Bundle, portrait: np.ndarray) -> None:
    mirrored = predict_image(portrait[:, ::-1], bundle)
    assert mirrored.faces == predict_image(portrait[:, ::-1].copy(), bundle).faces
    assert len(mirrored.faces) == 1


def test_too_large_images_are_a_status(bundle: Bundle, photos: Path) -> None:
    result = predict_image(photos / "a one.jpg", bundle, search=Search(max_pixels=1000))
    assert result.status == "too_large"
    assert "512 x 512 pixels; the limit is 1,000" in str(result.reason)
    assert result.width is None


def test_a_video_is_unreadable_with_advice(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "clip.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    result = predict_image(tmp_path / "clip.MP4", bundle)
    assert result.status == "unreadable"
    assert "mien video" in str(result.reason)


def test_the_gate_counts_faces_as_well_as_images() -> None:
    gate = stream._Gate(max_images=10, max_faces=5)
    assert gate.enter()
    gate.change(faces=5)
    entered: list[bool] = []
    thread = threading.Thread(target=lambda: entered.append(gate.enter()))
    thread.start()
    time.sleep(0.05)
    assert entered == []
    gate.change(faces=-1)
    thread.join(5)
    assert entered == [True]


def test_real_crops_all_show_a_face(bundle: Bundle, sample_data: Path) -> None:
    paths = sorted((sample_data / "utkface").rglob("*.jpg"))[:40]
    results = list(predict_images(paths, bundle))
    found = sum(result.status == "ok" for result in results)
    readable = sum(result.status != "unreadable" for result in results)
    assert readable >= 35
    assert found >= 0.95 * readable


@pytest.mark.parametrize("failure", [MemoryError(), cv2.error("Insufficient memory (Failed to allocate 8 bytes)")])
def test_a_photo_for_which_memory_was_short_once_is_predicted_all_the_same(
    bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    failures = [failure]

    def decode(*arguments: object, **options: object) -> np.ndarray:
        if failures:
            raise failures.pop()
        return decode_image(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(image_source, "open_photo", decode)
    assert predict_image(photos / "a one.jpg", bundle).status == "ok"


def test_a_photo_for_which_the_memory_is_not_enough_is_too_large(
    bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*arguments: object, **options: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(image_source, "open_photo", decode)
    result = predict_image(photos / "a one.jpg", bundle)
    assert (result.status, result.reason) == ("too_large", "There is not enough memory for this image.")
