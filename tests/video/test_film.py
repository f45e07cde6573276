"""Frames out of films: their order, times, orientation, and what is left of damaged ones."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import MissingExtraError, UsageError
from mien.video.opening import open_source
from mien.video.source import RawFormat, Sampling, UnreadableFilmError
from tests.video.films import background, moving, write_film

#: The matrix of a track header (ISO/IEC 14496-12) that turns nothing, and that of a phone held upright.
LEVEL = b"\0\1\0\0" + bytes(12) + b"\0\1\0\0" + bytes(12) + b"\x40\0\0\0"
QUARTER = bytes(4) + b"\0\1\0\0" + bytes(4) + b"\xff\xff\0\0" + bytes(16) + b"\x40\0\0\0"


def greys(count: int, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Frames of one grey each, 8 brighter than the one before."""
    return [np.full((size[1], size[0], 3), 8 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "libx264"),
        (".mov", "libx265"),
        (".webm", "libvpx-vp9"),
        (".avi", "mpeg4"),
        (".mkv", "ffv1"),
        (".gif", "gif"),
    ],
)
def test_containers_and_codecs(tmp_path: Path, suffix: str, codec: str) -> None:
    film = write_film(tmp_path / f"film{suffix}", greys(10), codec=codec, fps=10)
    source = open_source(film)
    frames = list(source.frames())
    assert [frame.number for frame in frames] == list(range(10))
    assert source.rate == 10 and source.expected_frames == 10  # Of a container that is closed by now.
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(10)], abs=0.011)
    assert [frame.image.mean() for frame in frames] == pytest.approx([8 * number for number in range(10)], abs=16)


def test_a_rate_that_varies(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.5, 0.54, 2.0]
    film = write_film(tmp_path / "film.mp4", greys(6), times=times)
    assert [frame.time for frame in open_source(film).frames()] == pytest.approx(times, abs=0.01)


def test_a_film_of_a_phone_held_upright_is_upright(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32] = 255  # What the sensor sees at its left is the top of the scene.
    film = write_film(tmp_path / "film.mp4", [frame] * 3)
    data = film.read_bytes()
    start = data.rindex(b"tkhd")
    assert data[start:].count(LEVEL) == 1
    film.write_bytes(data[:start] + data[start:].replace(LEVEL, QUARTER))
    image = next(open_source(film).frames()).image
    assert image.shape == (64, 48, 3)
    assert image[:24].mean() > 200 > 50 > image[40:].mean()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(every=4), [0, 4, 8, 12, 16]),
        (Sampling(fps=5), [0, 4, 8, 12, 16]),
        (Sampling(fps=8), [0, 3, 5, 8, 10, 13, 15, 18]),
        (Sampling(fps=100), list(range(20))),
        (Sampling(start=0.5, end=0.7), [10, 11, 12, 13, 14]),
    ],
)
def test_frames_that_are_wanted(tmp_path: Path, sampling: Sampling, expected: list[int]) -> None:
    film = write_film(tmp_path / "film.mp4", greys(20), fps=20)
    source = open_source(film, sampling)
    assert source.expected_frames == pytest.approx(len(expected), abs=1)
    assert [frame.number for frame in source.frames()] == expected


LEFT_EARLY = """
import sys
from mien.video.opening import open_source
for _ in range(100):
    frames = open_source(sys.argv[1]).frames()
    next(frames)
    frames.close()
"""


def test_a_damaged_film_that_is_left_early_does_not_hang(tmp_path: Path) -> None:
    """Its decoding threads have much to log while they are ended."""
    noise = np.random.default_rng(0).integers(0, 255, (20, 240, 320, 3)).astype(np.uint8)
    film = write_film(tmp_path / "film.mp4", list(noise), fps=20)
    data = bytearray(film.read_bytes())
    for place in range(3000, len(data) - 3000, 500):
        data[place] ^= 0x55
    film.write_bytes(data)
    subprocess.run([sys.executable, "-c", LEFT_EARLY, str(film)], check=True, timeout=300)


def test_starting_late_does_not_decode_what_is_before(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", greys(30) * 10, codec="mpeg4", fps=10)
    source = open_source(film, Sampling(start=25))
    numbers = [frame.number for frame in source.frames()]
    assert numbers == list(range(250, 300))
    assert source.counts.decoded < 80


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_animated_pictures(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(frame) for frame in greys(5)]
    path = tmp_path / f"moving{suffix}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=200, lossless=True)
    frames = list(open_source(path).frames())
    assert [round(frame.time, 3) for frame in frames] == [0, 0.2, 0.4, 0.6, 0.8]
    assert [frame.image.mean() for frame in frames] == [0, 8, 16, 24, 32]


def test_raw_frames_on_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(b"".join(frame.tobytes() for frame in greys(4)))
    with raw.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        frames = list(open_source("-", raw=RawFormat.of_text("64x48@2")).frames())
    assert [frame.time for frame in frames] == [0, 0.5, 1, 1.5]
    assert [int(frame.image.mean()) for frame in frames] == [0, 8, 16, 24]


def test_what_is_no_film_is_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    for path in (text, tmp_path / "absent.mp4"):
        with pytest.raises(UnreadableFilmError, match=r"Cannot read .*\.$"):
            open_source(path)
    with pytest.raises(UsageError, match="folder"):
        open_source(tmp_path)
    with pytest.raises(UsageError, match="standard input"):
        open_source(text, raw=RawFormat(width=8, height=8))


def test_a_name_that_ffmpeg_would_take_for_an_instruction_is_a_name(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", greys(2))
    with pytest.raises(UnreadableFilmError, match="no such file"):
        open_source(f"concat:{film}")


def damaged(data: bytes, seed: int) -> bytes:
    """Cut a film off, flip bytes in it, or take its index away."""
    chance = np.random.default_rng(seed)
    kind = seed % 3
    if kind == 0:
        return data[: int(len(data) * chance.uniform(0.2, 0.98))]
    changed = np.frombuffer(data, np.uint8).copy()
    if kind == 1:
        places = chance.integers(0, len(data), chance.integers(1, 60))
        changed[places] = chance.integers(0, 256, len(places))
        return changed.tobytes()
    for name in (b"moov", b"idx1", b"Cues", b"stco", b"stts"):
        data = data.replace(name, b"free", 1)
    return data


def test_damaged_films_give_what_can_be_read(tmp_path: Path) -> None:
    codecs = {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9", ".mkv": "libx264"}
    frames = list(moving([background(1, (40, 40))], [lambda n: (5 * n, 20, 40)], 24, size=(160, 90)))
    whole = {suffix: write_film(tmp_path / f"whole{suffix}", frames, codec=codec) for suffix, codec in codecs.items()}
    read = counted = refused = 0
    for seed in range(48):
        suffix = list(codecs)[seed % 4]
        path = tmp_path / f"{seed}{suffix}"
        path.write_bytes(damaged(whole[suffix].read_bytes(), seed))
        try:
            source = open_source(path)
            found = list(source.frames())
        except UnreadableFilmError:
            refused += 1
            continue
        times = [frame.time for frame in found]
        assert times == sorted(set(times))
        read += len(found)
        counted += source.counts.corrupt
    assert read > 24 * 12 and counted > 0 and refused < 32


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", greys(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"mien\[video\]"):
        open_source(film)


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path, model: object) -> None:
    film = write_film(tmp_path / "film.mp4", greys(30))
    before = threading.active_count()
    run = model.video(film)  # type: ignore[attr-defined]
    next(iter(run))
    run.close()
    assert threading.active_count() <= before
