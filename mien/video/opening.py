"""Open a source of frames by its name."""

from __future__ import annotations

import os

from mien.errors import UsageError
from mien.video.film import AnimatedPicture, Film, is_animated_picture
from mien.video.live import open_camera, open_stream
from mien.video.source import RawFormat, Sampling, Source, source_kind
from mien.vision.decode import as_path_text


def open_source(
    name: str | os.PathLike[str], sampling: Sampling | None = None, *, raw: RawFormat | None = None
) -> Source:
    """Open a film, stream, camera or standard input.

    Args:
        name: a film's path, an address as ``rtsp://...``, ``camera:0``, or ``-`` for standard input.
        sampling: which frames are wanted; the default is all.
        raw: what the frames on standard input are, where they have no header.

    Raises:
        UnreadableFilmError: there is no such film, or it holds no picture that can be decoded.
        MissingExtraError: PyAV is not installed.
        UsageError: ``name`` is none of these.
    """
    if not isinstance(name, (str, os.PathLike)) or not str(name):
        raise UsageError(f"Expected a film's path, a stream's address, camera:0 or -; got {name!r:.60}.")
    text, sampling = as_path_text(name), sampling or Sampling()
    kind = source_kind(text) if isinstance(name, str) else "file"
    if raw is not None and kind != "input":
        raise UsageError(f"The format of raw frames is for standard input (-), got {text!r}.")
    if kind == "camera":
        return open_camera(int(text.partition(":")[2]), sampling)
    if kind == "stream":
        return open_stream(text, sampling)
    if kind == "file" and is_animated_picture(text):
        return AnimatedPicture(text, sampling)
    return Film(text, sampling, raw=raw, standard_input=kind == "input")
