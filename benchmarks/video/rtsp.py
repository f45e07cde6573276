"""Serve one H.264 stream by RTSP, with RTP inside the connection (RFC 2326, RFC 6184), for tests and measurements."""

from __future__ import annotations

import base64
import io
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
TYPES_OF_PARAMETERS, NAL_TYPE = (7, 8), 0x1F


def encoded(frames: list[Image]) -> list[list[bytes]]:
    """Return the NAL units of each frame; every frame can be decoded by itself."""
    import av

    with av.open(io.BytesIO(), "w", format="h264") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"tune": "zerolatency", "preset": "ultrafast", "x264-params": "keyint=1"}
        pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
        packets = [packet for picture in [*pictures, None] for packet in stream.encode(picture)]
    return [[unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1") if unit.strip(b"\0")] for packet in packets]


@contextmanager
def serve_rtsp(
    frames: list[Image], *, port: int = 0, fps: float = 25, sent: Callable[[int], None] = lambda shown: None
) -> Iterator[int]:
    """Serve the frames again and again; yield the port. Leaving ends all connections.

    Args:
        frames: uint8, H x W x 3, RGB, small enough that none takes 64 kB when it is encoded.
        port: 0 is any that is free.
        fps: frames a second.
        sent: called with the count of frames just before each is sent.
    """
    pictures, ended = encoded(frames), threading.Event()
    parameters = [unit for unit in pictures[0] if unit[0] & NAL_TYPE in TYPES_OF_PARAMETERS]
    sets = ",".join(base64.b64encode(unit).decode() for unit in parameters)
    description = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\na=control:track\r\n"
    )

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while lines := self._request():
                method = lines[0].split()[0]
                number = next(line for line in lines if line.lower().startswith("cseq"))
                body = description if method == "DESCRIBE" else ""
                more = {
                    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n",
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                    "PLAY": "Session: 1\r\n",
                }.get(method, "")
                self.wfile.write(f"RTSP/1.0 200 OK\r\n{number}\r\n{more}\r\n{body}".encode())
                if method == "PLAY":
                    self._play()
                    return

        def _request(self) -> list[str]:
            lines = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            return lines

        def _play(self) -> None:
            packet, shown = 0, 0
            while not ended.wait(1 / fps):
                units = pictures[shown % len(pictures)]
                sent(shown)
                for unit in units:
                    marker = 0x80 if unit is units[-1] else 0
                    header = struct.pack(">BBHII", 0x80, 96 | marker, packet & 0xFFFF, round(shown * 90000 / fps), 1)
                    content = header + unit
                    try:
                        self.wfile.write(struct.pack(">BBH", 0x24, 0, len(content)) + content)
                    except OSError:
                        return
                    packet += 1
                shown += 1

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            ended.set()
            server.shutdown()
