"""Find a bundle on the Hugging Face Hub: an address as ``hf://user/name@revision#sha256=...`` in, a file out.

The file is data of unknown origin like any other bundle: `load_bundle` checks it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mien import __version__
from mien.errors import MienError, MissingExtraError, UsageError
from mien.files import file_sha256
from mien.inference.metadata import BundleError
from mien.progress import console
from mien.vision.decode import MAX_BYTES

#: The name of the bundle in its repository.
HUB_FILE = "model.onnx"
HUB = "hf://"
#: A `Path` makes one slash of two.
_PREFIX = re.compile(r"hf:/{1,2}")
_ADDRESS = re.compile(r"([^/@#]+/[^/@#]+)(?:@([^@#]+))?(?:#sha256=([0-9a-fA-F]{64}))?")


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """A repository of the Hub, its branch, tag or commit, and the SHA-256 that its bundle must have, if any."""

    repository: str
    revision: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{HUB}{self.repository}{revision}" + ("" if self.sha256 is None else f"#sha256={self.sha256}")


def hub_address(path: str | os.PathLike[str]) -> HubAddress | None:
    """Return the address that a path is, or None where it is no path of the Hub.

    Raises:
        UsageError: it begins as an address of the Hub and is none.

    >>> hub_address("hf://user/name@v1")
    HubAddress(repository='user/name', revision='v1', sha256=None)
    >>> hub_address("model.onnx") is None
    True
    """
    text = path.as_posix() if isinstance(path, PurePath) else os.fspath(path)
    if not (prefix := _PREFIX.match(text)):
        return None
    rest = text[prefix.end() :]
    if not (found := _ADDRESS.fullmatch(rest)):
        raise UsageError(
            f"Expected hf://user/name, hf://user/name@revision or either with #sha256=HEX, got {HUB + rest!r}."
        )
    repository, revision, sha256 = found.groups()
    return HubAddress(repository=repository, revision=revision, sha256=sha256.lower() if sha256 else None)


def download(address: HubAddress) -> Path:
    """Return the bundle's file in the cache of huggingface_hub, downloaded where it is not there.

    A cached file is used without a network, and without a request where the revision is a full commit hash.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        BundleError: the Hub cannot be reached, or has no such file, or the file is too large or has another SHA-256.
    """
    with hub_errors(f"Cannot load the model {address}", BundleError):
        from huggingface_hub import hf_hub_download

        options: dict[str, Any] = {"revision": address.revision, "library_name": "mien", "library_version": __version__}
        found = hf_hub_download(address.repository, HUB_FILE, dry_run=True, **options)
        if (found.file_size or 0) > MAX_BYTES:
            raise BundleError(
                f"Cannot load the model {address}: it has {found.file_size:,} bytes; the limit is {MAX_BYTES:,}."
            )
        path = Path(
            hf_hub_download(address.repository, HUB_FILE, **options) if found.will_download else found.local_path
        )
    if address.sha256 is not None and (actual := file_sha256(path)) != address.sha256:
        raise BundleError(f"Cannot load the model {address}: its SHA-256 is {actual}.")
    return path


@contextmanager
def hub_errors(what: str, kind: type[MienError]) -> Iterator[None]:
    """Turn the errors of huggingface_hub into one sentence that begins with ``what``; hide its bars with --quiet.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    except ImportError as error:
        raise MissingExtraError("huggingface-hub", "hub", "The Hugging Face Hub") from error
    # The base class is httpx's or httpx2's, by version; every failure of the transport is one.
    transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    shown = not are_progress_bars_disabled()
    if console.quiet:
        disable_progress_bars()
    try:
        yield
    # A ValueError is a wrong name or an answer that is not the Hub's; storage that fails gives a RuntimeError.
    except (transport, OSError, ValueError, RuntimeError) as error:
        raise kind(f"{what}: {_reason(error)}.") from error
    finally:
        if console.quiet and shown:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    """Return why the Hub gave nothing, without a full stop."""
    from huggingface_hub import errors

    # In this order: some are subclasses of those below them.
    reasons: list[tuple[type[Exception], str]] = [
        (errors.LocalEntryNotFoundError, f"it is not in the cache, and the Hub cannot be reached{_because(error)}"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set"),
        (errors.GatedRepoError, "its owner gives access on request; ask on its page, then run hf auth login"),
        (errors.RepositoryNotFoundError, "there is no such repository, or it is private and needs hf auth login"),
        (errors.RevisionNotFoundError, "the repository has no such revision"),
        (errors.EntryNotFoundError, f"the repository has no {HUB_FILE}"),
    ]
    for known, reason in reasons:
        if isinstance(error, known):
            return reason
    if isinstance(error, errors.HfHubHTTPError):
        return f"the Hub refused with status {error.response.status_code}{_told(error.server_message)}"
    if isinstance(error, (ValueError, OSError, RuntimeError)):
        return _line(error.__cause__ or error)
    return f"the Hub cannot be reached ({_line(error)})"


def _because(error: Exception) -> str:
    """Return in brackets why a file could not be looked for, where that is known."""
    from huggingface_hub import errors

    cause = error.__cause__
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return " (HF_HUB_OFFLINE is set)"
    return "" if cause is None else f" ({_line(cause)})"


def _told(message: str | None) -> str:
    return f": {_line(message)}" if message else ""


def _line(text: object) -> str:
    """Return the first line of a message from elsewhere: printable, short, without a full stop."""
    line = (str(text).splitlines() or [type(text).__name__])[0][:300]
    return "".join(character if character.isprintable() else "?" for character in line).rstrip(". ")
