"""Tell from the first bytes of a file what it holds, where that is no format that is always read: HEIC or a video.

Names say little: phones save `IMG_1.HEIC` as `IMG_1.jpg`, browsers JPEG as `.pjpeg`, social networks as `.JPG_large`.
"""

from __future__ import annotations

#: Bytes that the functions here look at.
HEAD_BYTES = 4096

#: What to do with a video.
VIDEO_COMMAND = "mien video VIDEO reads it"

#: Brands of HEIF files (ISO/IEC 23008-12) that hold a photo in HEVC, or in any codec.
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
#: Brands of the same container that hold sound alone.
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
_VIDEO_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x00\x00\x01\xba",  # MPEG
    b"\x00\x00\x01\xb3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: .wmv
)
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
#: Bytes of one packet of an MPEG transport stream; each begins with a G.
_TRANSPORT_PACKET = 188


def is_heif(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a HEIC or HEIF photo; AVIF, which Pillow reads, is not."""
    brands = _brands(head)
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def is_video(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a video.

    >>> is_video(b"\\x00\\x00\\x00\\x18ftypmp42" + bytes(12)), is_video(b"\\xff\\xd8\\xff\\xe0")
    (True, False)
    """
    if brands := _brands(head):
        return not brands & (_HEIF_BRANDS | _AVIF_BRANDS) and head[8:12] not in _AUDIO_BRANDS
    packets = head[: 3 * _TRANSPORT_PACKET : _TRANSPORT_PACKET]
    return (
        head.startswith(_VIDEO_BEGINNINGS)
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[4:8] in _QUICKTIME_ATOMS
        or (len(packets) == 3 and set(packets) == {0x47})
    )


def _brands(head: bytes) -> set[bytes]:
    """Return the brands that an ISO media file declares; none for other files."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))}
