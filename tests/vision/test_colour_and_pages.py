"""Colour profiles, pages, addresses and messages of decoders."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from mien.inference.prepare import prepare_image
from mien.vision.decode import UnreadableImageError, decode_image

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "eileen_collins.jpg"


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def swapped_profile() -> bytes:
    """An sRGB profile whose red and green primaries are exchanged, under another name."""
    data = profile("sRGB").replace("sRGB".encode("utf-16-be"), "sXGB".encode("utf-16-be")).replace(b"sRGB", b"sXGB")
    return data.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_converted_from_the_embedded_profile(mode: str) -> None:
    red = Image.new(mode, (8, 8), (200, 20, 30, 255)[: len(mode)])
    pixel = decode_image(encoded(red, "PNG", icc_profile=swapped_profile()))[4, 4].astype(int)
    assert np.abs(pixel - (20, 200, 30)).max() <= 3


@pytest.mark.parametrize(
    "data", [b"", b"broken", profile("sRGB"), profile("LAB")], ids=["none", "broken", "srgb", "lab"]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_profiles_that_change_nothing_or_cannot_be_used(mode: str, data: bytes) -> None:
    image = Image.open(EXAMPLE).convert(mode).resize((32, 32))
    plain = decode_image(encoded(image, "TIFF"))
    np.testing.assert_array_equal(decode_image(encoded(image, "TIFF", icc_profile=data)), plain)


def test_a_face_on_the_second_page_is_hinted_at() -> None:
    face = Image.open(EXAMPLE)
    blank = Image.new("RGB", (300, 300), "white")
    pages = encoded(blank, "TIFF", save_all=True, append_images=[face, blank])
    row = prepare_image(pages, size=64, model="").row
    assert row.status == "no_face"
    assert row.reason is not None
    assert "first of the file's 3 pages" in row.reason


@pytest.mark.parametrize("uri", ["https://example.org/a.jpg", "data:image/png;base64," + "A" * 5000])
def test_addresses_are_not_fetched_and_not_repeated_whole(uri: str) -> None:
    with pytest.raises(UnreadableImageError, match="not fetched"):
        decode_image(uri)
    row = prepare_image(uri, size=64, model="").row
    assert row.status == "unreadable"
    assert len(row.path) < 100


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "deep"])
def test_damaged_images_print_nothing(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    image = Image.open(EXAMPLE).resize((64, 64))
    if compression == "deep":
        data = cv2.imencode(".tiff", np.asarray(image).astype(np.uint16) * 257)[1].tobytes()
    else:
        data = encoded(image, "TIFF", compression=compression)
    generator = np.random.default_rng(0)
    failed = 0
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(8, len(damaged), 20)
        damaged[places] = generator.integers(0, 256, 20)
        try:
            decode_image(damaged.tobytes())
        except UnreadableImageError:
            failed += 1
    assert failed > 0
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
