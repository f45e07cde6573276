"""Publish a bundle on the Hugging Face Hub: one commit with the bundle, its card as README.md, and its licences."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mien import __version__
from mien.errors import MienError, UsageError
from mien.inference.bundle import load_bundle
from mien.inference.hub import HUB_FILE, HubAddress, hub_address, hub_errors
from mien.integrations.hub_card import hub_readme, licence_text
from mien.vision.decode import read_regular_file


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What is uploaded: ``files`` by their names in the repository, and the SHA-256 of the bundle among them."""

    repository: str
    files: dict[str, bytes]
    sha256: str

    @property
    def card(self) -> str:
        """Return the text of README.md."""
        return self.files["README.md"].decode()


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """Where a bundle is now: ``address`` names its commit and SHA-256, ``url`` is the page of the commit."""

    address: str
    url: str


def publication(bundle: str | Path, repository: str) -> Publication:
    """Check a bundle and return the files of its repository.

    Args:
        bundle: a file (``.onnx``) or the name of a bundled model.
        repository: ``user/name``.

    Raises:
        UsageError: the repository has no such name.
        BundleError: the bundle cannot be used.
    """
    address = None if "@" in repository or "#" in repository else hub_address(f"hf://{repository}")
    if address is None:
        raise UsageError(f"Expected a repository as user/name, got {repository!r}.")
    loaded = load_bundle(bundle)
    content = read_regular_file(loaded.path)
    sha256 = hashlib.sha256(content).hexdigest()
    files = {HUB_FILE: content, "README.md": hub_readme(loaded.metadata, repository, sha256).encode()}
    if (licences := licence_text(loaded.metadata.licences)) is not None:
        files["LICENSE"] = licences.encode()
    return Publication(repository=repository, files=files, sha256=sha256)


def push(published: Publication, *, private: bool = False) -> Pushed:
    """Upload the files in one commit to the repository, which is made where it is missing.

    The token of ``hf auth login`` or of ``HF_TOKEN`` must have the right to write there.

    Args:
        published: from `publication`.
        private: make a new repository private; one that exists stays as it is.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        MienError: the Hub cannot be reached or refuses.
    """
    repository = published.repository
    with hub_errors(f"Cannot push to {repository}", MienError):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(library_name="mien", library_version=__version__)
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(name, content) for name, content in published.files.items()],
            commit_message=f"Bundle {published.sha256[:8]}, written by mien {__version__}",
        )
    address = HubAddress(repository=repository, revision=commit.oid, sha256=published.sha256)
    return Pushed(address=str(address), url=commit.commit_url)
