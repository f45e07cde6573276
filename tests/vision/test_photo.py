"""A large JPEG that is decoded in part gives what the whole gives."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mien.inference.bundle import load_bundle
from mien.inference.pipeline import predict_image
from mien.vision.align import TEMPLATE, align_face
from mien.vision.decode import ImageTooLargeError, RGBImage, UnreadableImageError, decode_image
from mien.vision.photo import Photo, open_photo
from mien.vision.resize import resize_crops

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"
#: Megapixels -> width and height; and in which parts of the photo's height its faces stand.
SIZES = {2: (1632, 1224), 6: (2832, 2124), 12: (4032, 3024), 24: (5664, 4248)}
PARTS = (0.6, 0.25, 0.1)


def jpeg(pixels: RGBImage, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def group_photo(width: int, height: int) -> RGBImage:
    """Return a photo of the example portrait in three sizes, side by side on a blurred ground."""
    portrait = decode_image(EXAMPLE)
    ground = np.random.default_rng(3).integers(60, 200, (height // 64, width // 64, 3), dtype=np.uint8)
    canvas = np.asarray(cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    left = top = width // 50
    for part in PARTS:
        side = int(part * height)
        canvas[top : top + side, left : left + side] = cv2.resize(portrait, (side, side))
        left += side + width // 50
    return canvas


@pytest.mark.parametrize("megapixels", SIZES)
def test_faces_are_those_of_full_decoding(megapixels: int) -> None:
    bundle, data = load_bundle("small"), jpeg(group_photo(*SIZES[megapixels]))
    whole, lazy = predict_image(decode_image(data), bundle), predict_image(data, bundle)
    assert (lazy.width, lazy.height) == SIZES[megapixels]
    assert len(lazy.faces) == len(whole.faces) == len(PARTS)
    for face, other in zip(lazy.faces, whole.faces, strict=True):
        assert np.abs(np.subtract(face.box, other.box)).max() <= 0.01 * max(SIZES[megapixels])
        assert face.gender is not None and other.gender is not None
        assert face.gender.label == other.gender.label


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_and_reductions_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(group_photo(2000, 1500), exif=exif.tobytes())
    whole, photo = decode_image(data), open_photo(data)
    assert isinstance(photo, Photo)
    assert photo.shape == whole.shape
    reduced = photo.reduced(900)
    assert reduced is not None and max(reduced.shape) == 1000
    averaged = cv2.resize(whole, reduced.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - averaged).mean() < 3
    assert np.array_equal(photo[100:333, 40:91], whole[100:333, 40:91])
    assert np.array_equal(photo.whole(), whole)
    assert np.array_equal(photo[5:9, 1:4], whole[5:9, 1:4])


def test_only_what_is_asked_for_is_reduced() -> None:
    photo = open_photo(jpeg(group_photo(2000, 1500)))
    assert isinstance(photo, Photo)
    assert photo.reduced(1001) is None
    for side, given in {200: 250, 251: 500, 501: 1000, 1: 250}.items():
        reduced = photo.reduced(side)
        assert reduced is not None and max(reduced.shape) == given
    assert isinstance(open_photo(jpeg(group_photo(800, 600))), np.ndarray)


@pytest.mark.parametrize(
    ("width", "seen", "given"),
    # The crop's width in the photo of 2,000 pixels: 360 are 90 at a quarter of the size, enough whatever is seen.
    [(400, None, 1000), (400, 128, 500), (400, 96, 500), (400, 48, 250), (362, 128, 500), (358, 128, 1000)],
)
def test_a_photo_is_decoded_no_finer_than_the_network_sees(
    width: int, seen: int | None, given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = open_photo(jpeg(group_photo(2000, 1500)))
    assert isinstance(photo, Photo)
    asked = list[float]()
    decoded = Photo.reduced
    monkeypatch.setattr(Photo, "reduced", lambda self, side: asked.append(side) or decoded(self, side))
    crop = align_face(photo, TEMPLATE * width + 500, 128, seen=seen)
    assert crop.shape == (128, 128, 3)
    reduced = decoded(photo, asked[0])
    assert reduced is not None and max(reduced.shape) == given
    whole = align_face(photo.whole(), TEMPLATE * width + 500, 128)
    small, expected = (resize_crops(each[None], seen or 128).astype(int) for each in (crop, whole))
    assert np.abs(small - expected).mean() < 6


def test_damaged_and_too_large_photos_say_so() -> None:
    data = jpeg(group_photo(2000, 1500))
    with pytest.raises(ImageTooLargeError):
        open_photo(data, max_pixels=1000)
    photo = open_photo(data[: len(data) // 2])
    assert isinstance(photo, Photo)
    with pytest.raises(UnreadableImageError, match="truncated"):
        photo.reduced(500)
    with pytest.raises(UnreadableImageError, match="truncated"):
        photo[:10, :10]
