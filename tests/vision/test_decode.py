"""Every file is an upright RGB image or one sentence, and never a hang."""

from __future__ import annotations

import io
import os
import struct
import sys
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.vision.decode import ImageTooLargeError, UnreadableImageError, as_path_text, decode_image

#: Four plain quadrants: red, green / blue, white; wider than tall, so that every orientation shows.
QUADRANTS = np.zeros((40, 60, 3), np.uint8)
QUADRANTS[:20, :30], QUADRANTS[:20, 30:] = (255, 0, 0), (0, 255, 0)
QUADRANTS[20:, :30], QUADRANTS[20:, 30:] = (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


#: How a camera stores an upright picture under each EXIF orientation (the inverse of what a viewer does).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientations_come_out_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](QUADRANTS)))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    decoded = decode_image(encoded(stored, kind, exif=exif, **options))
    assert decoded.shape == QUADRANTS.shape
    np.testing.assert_allclose(decoded[5::10, 5::10].astype(int), QUADRANTS[5::10, 5::10].astype(int), atol=12)


def test_a_broken_exif_block_does_not_stop_the_image() -> None:
    data = encoded(Image.fromarray(QUADRANTS), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x99" * 60)
    assert decode_image(data).shape == (40, 60, 3)


@pytest.mark.parametrize("name", ["ébène 日本.jpg", "a b'c\"d.jpg", "photo[1].jpg", "☃.jpg"])
def test_names_of_any_characters(tmp_path: Path, name: str) -> None:
    Image.fromarray(QUADRANTS).save(tmp_path / name, "PNG")
    np.testing.assert_array_equal(decode_image(tmp_path / name), QUADRANTS)
    assert as_path_text(tmp_path / name) == str(tmp_path / name)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(path)).write_bytes(encoded(Image.fromarray(QUADRANTS), "PNG"))
    np.testing.assert_array_equal(decode_image(os.fsdecode(path)), QUADRANTS)
    assert as_path_text(os.fsdecode(path)).encode("utf-8").endswith(b"/caf\\xe9.png")


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "really_png.jpg").write_bytes(encoded(Image.fromarray(QUADRANTS), "PNG"))
    np.testing.assert_array_equal(decode_image(tmp_path / "really_png.jpg"), QUADRANTS)


def test_grey() -> None:
    grey = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    decoded = decode_image(encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat(grey[:, :, None], 3, axis=2))


def test_transparency_lies_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 128)]
    decoded = decode_image(encoded(Image.fromarray(rgba), "PNG"))
    # Half transparent: 200 * 128/255 + 255 * 127/255 = 227.4, and so on.
    np.testing.assert_allclose(decoded[0], [(200, 100, 0), (255, 255, 255), (227, 177, 127)], atol=1)


def test_grey_with_transparency() -> None:
    la = np.array([[(50, 255), (50, 0)]], np.uint8)
    decoded = decode_image(encoded(Image.fromarray(la, "LA"), "PNG"))
    assert decoded[0].tolist() == [[50] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_colour(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, kind, transparency=1))
    assert decoded[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_rgb_with_a_transparent_colour() -> None:
    image = Image.fromarray(np.array([[(1, 2, 3), (200, 2, 3)]], np.uint8))
    decoded = decode_image(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert decoded[0].tolist() == [[255, 255, 255], [200, 2, 3]]


def test_cmyk_jpeg() -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # No cyan, all magenta and yellow: red.
    decoded = decode_image(encoded(cmyk, "JPEG", quality=95))
    np.testing.assert_allclose(decoded.astype(int), np.broadcast_to((254, 0, 0), (16, 16, 3)), atol=4)


def test_one_bit() -> None:
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    for kind in ("PNG", "TIFF", "BMP"):
        assert decode_image(encoded(image, kind))[:, :, 0].tolist() == [[255, 0], [0, 255]]


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    deep = np.array([[0, 255, 256], [0x8000, 0xABCD, 0xFFFF]], np.uint16)
    for kind in ("PNG", "TIFF"):
        decoded = decode_image(encoded(Image.fromarray(deep), kind))
        assert decoded[:, :, 1].tolist() == [[0, 0, 1], [0x80, 0xAB, 0xFF]], kind


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colour_keeps_its_high_byte(suffix: str) -> None:
    deep = np.zeros((4, 5, 3), np.uint16)
    deep[:, :] = (0xFFFF, 0x8000, 0x1234)  # RGB
    ok, data = cv2.imencode(suffix, deep[:, :, ::-1])
    assert ok
    decoded = decode_image(data.tobytes())
    assert decoded.shape == (4, 5, 3)
    np.testing.assert_allclose(decoded[0, 0].astype(int), (0xFF, 0x80, 0x12), atol=1)


def test_sixteen_bit_png_with_transparency() -> None:
    deep = np.zeros((2, 2, 4), np.uint16)
    deep[:, :] = (0x1000, 0x2000, 0xFF00, 0)  # BGRA, wholly transparent
    ok, data = cv2.imencode(".png", deep)
    assert ok
    assert decode_image(data.tobytes())[0, 0].tolist() == [255, 255, 255]


def test_float_pixels_are_refused_their_range_is_unknown() -> None:
    with pytest.raises(UnreadableImageError, match="no declared range"):
        decode_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_allclose(decode_image(data)[4, 4].astype(int), (255, 0, 0), atol=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_every_format_is_read(kind: str) -> None:
    decoded = decode_image(encoded(Image.fromarray(QUADRANTS), kind))
    np.testing.assert_allclose(decoded[10, 10].astype(int), (255, 0, 0), atol=12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: int(len(data) * share)])


def test_files_that_are_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "locked.jpg").write_bytes(b"x")
    for path, words in [
        (tmp_path / "empty.jpg", "empty"),
        (tmp_path / "text.jpg", "not an image in a known format"),
        (tmp_path / "missing.jpg", "No such file"),
        (tmp_path, "directory"),
        (tmp_path / "text.jpg" / "below.jpg", "Not a directory"),
        (tmp_path / "null\0byte.jpg", "null"),
        (tmp_path / ("long" * 100), "too long"),
    ]:
        with pytest.raises(UnreadableImageError, match=words) as caught:
            decode_image(path)
        assert "\n" not in str(caught.value)


def test_vector_and_document_formats_are_refused() -> None:
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg xmlns='x'/>", b"%PDF-1.4\n"):
        with pytest.raises(UnreadableImageError, match="not an image"):
            decode_image(data)


def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    started = time.monotonic()
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(UnreadableImageError, match="regular file"):
            decode_image(path)
    assert time.monotonic() - started < 2


def png_with_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2**31 - 1), (100_000_001, 1)])
def test_a_header_that_claims_too_much_is_not_decoded(size: tuple[int, int]) -> None:
    started = time.monotonic()
    with pytest.raises(ImageTooLargeError, match=r"pixels|large"):
        decode_image(png_with_header(*size))
    assert time.monotonic() - started < 1


def test_a_jpeg_header_that_claims_too_much_is_not_decoded() -> None:
    data = bytearray(encoded(Image.fromarray(QUADRANTS), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(ImageTooLargeError):
        decode_image(bytes(data))


def test_the_limits_are_the_callers(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(QUADRANTS), "PNG")
    assert decode_image(data, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageTooLargeError, match="60 x 40 pixels; the limit is 2,399"):
        decode_image(data, max_pixels=2399)
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    with pytest.raises(ImageTooLargeError, match="bytes; the limit"):
        decode_image(tmp_path / "big.jpg")


SEEDS = [
    encoded(Image.fromarray(QUADRANTS), "JPEG"),
    encoded(Image.fromarray(QUADRANTS), "PNG"),
    encoded(Image.fromarray(QUADRANTS), "WEBP"),
    encoded(Image.fromarray(QUADRANTS), "TIFF"),
    encoded(Image.fromarray(QUADRANTS), "GIF"),
    encoded(Image.fromarray(QUADRANTS), "JPEG2000"),
]


def decodes_or_says_why(data: bytes) -> None:
    started = time.monotonic()
    try:
        image = decode_image(data, max_pixels=4_000_000)
    except (UnreadableImageError, ImageTooLargeError) as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 0 not in image.shape
        assert image.flags["C_CONTIGUOUS"]
    assert time.monotonic() - started < 5


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
def test_fuzz_random_bytes(data: bytes) -> None:
    decodes_or_says_why(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.floats(0, 0.9999), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
    cut=st.floats(0.5, 1),
)
def test_fuzz_damaged_images(seed: int, edits: list[tuple[float, bytes]], cut: float) -> None:
    data = bytearray(SEEDS[seed])
    for place, value in edits:
        start = int(place * len(data))
        data[start : start + len(value)] = value
    decodes_or_says_why(bytes(data[: int(len(data) * cut)]))


def test_sixteen_bit_grey_that_counts_from_white() -> None:
    deep = np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16)
    from_black = decode_image(encoded(Image.fromarray(deep), "TIFF", tiffinfo={262: 1}))
    from_white = decode_image(encoded(Image.fromarray(0xFFFF - deep), "TIFF", tiffinfo={262: 0}))
    assert from_white[:, :, 0].tolist() == from_black[:, :, 0].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_sixteen_bit_colour_tiff_with_a_fourth_channel() -> None:
    deep = np.full((4, 5, 4), 0xFFFF, np.uint16)
    deep[:, :, :3] = (0x1234, 0x8000, 0xABCD)  # BGR
    assert decode_image(cv2.imencode(".tiff", deep)[1].tobytes())[0, 0].tolist() == [0xAB, 0x80, 0x12]
    deep[1, 1, 3] = 0
    with pytest.raises(UnreadableImageError, match="Transparent"):
        decode_image(cv2.imencode(".tiff", deep)[1].tobytes())


def test_heic_is_read_upright_where_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](QUADRANTS)))
    data = encoded(stored, "HEIF", exif=exif.tobytes(), quality=-1)
    decoded = decode_image(data)
    assert decoded.shape == QUADRANTS.shape
    assert np.abs(decoded.astype(int) - QUADRANTS).mean() < 10
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImageError, match=r"pip install 'mien\[heic\]'"):
        decode_image(data)


def test_a_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="it is a video; mien video"):
        decode_image(b"\0\0\0\x18ftypmp42" + bytes(40))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors as Linux lists them")
def test_folders_given_as_images_leave_no_open_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        with pytest.raises(UnreadableImageError):
            decode_image(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
