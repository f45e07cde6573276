"""Show frames in a browser while they are read: an MJPEG stream on this machine's loopback address.

The address holds a random token, and no other machine can reach it.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import webbrowser
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from mien.progress import console
from mien.vision.decode import RGBImage

#: Longest side of what is shown, and the quality of its JPEG.
LONGEST_SIDE, QUALITY = 1280, 80
_BOUNDARY = "frame"


class _Latest:
    """The newest picture as JPEG, for any number of readers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._picture, self._number, self._closed = b"", 0, False

    def put(self, picture: bytes) -> None:
        with self._changed:
            self._picture, self._number = picture, self._number + 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pictures(self) -> Iterator[bytes]:
        """Yield each picture that is the newest when the reader is ready for it."""
        seen = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self._number != seen or self._closed)  # type: ignore[misc]
                if self._closed:
                    return
                seen, picture = self._number, self._picture
            yield picture


@contextlib.contextmanager
def open_viewer(*, browser: bool = True) -> Iterator[tuple[str, Callable[[RGBImage], None]]]:
    """Yield the address of the stream and a function that shows a picture (uint8, height x width x 3, RGB).

    Args:
        browser: open the address in the user's browser; it is printed in any case.
    """
    latest, path = _Latest(), f"/{secrets.token_urlsafe(16)}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            with contextlib.suppress(OSError):  # The reader went away.
                for picture in latest.pictures():
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_port}{path}"
    threading.Thread(target=server.serve_forever, name="mien-viewer", daemon=True).start()
    console.print(f"Shown at {address}", markup=False, soft_wrap=True)
    if browser:
        webbrowser.open(address)
    try:
        yield address, lambda image: latest.put(_jpeg(image))
    finally:
        latest.close()
        server.shutdown()
        server.server_close()


def _jpeg(image: RGBImage) -> bytes:
    scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
