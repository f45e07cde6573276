"""Keep the shards of a job in a folder, local or behind a URL: a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.errors import MienError, UsageError
from mien.files import atomic_path, check_out_folder, is_file
from mien.scale.parquet import read_record
from mien.scale.remote import file_system, is_url, open_binary, reason_of
from mien.scale.types import ShardRecord, shard_name

MANIFEST = "manifest.json"


class Store:
    """A folder of shards and their manifest. It can be pickled."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder).rstrip("/") or "/"
        if not is_url(self.folder):
            check_out_folder(Path(self.folder))

    def path_of(self, name: str) -> str:
        """Return the path or URL of a file of this folder."""
        return f"{self.folder}/{name}"

    def holds(self, name: str) -> bool:
        """Return whether a file is there."""
        path = self.path_of(name)
        if not is_url(path):
            return is_file(path)
        system, inner = file_system(path)
        try:
            return bool(system.exists(inner))
        # Each file system has exceptions of its own.
        except Exception as error:
            raise MienError(f"Cannot read {path}: {reason_of(error)}.") from error

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a local path; what is written there becomes the file when the context ends well."""
        path = self.path_of(name)
        if not is_url(path):
            with atomic_path(Path(path)) as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="mien-") as folder:
            local = Path(folder) / name
            yield local
            system, inner = file_system(path)
            try:
                system.makedirs(system._parent(inner), exist_ok=True)
                system.put_file(str(local), inner)
            # Each file system has exceptions of its own.
            except Exception as error:
                raise MienError(f"Cannot write {path}: {reason_of(error)}.") from error

    def record_of(self, number: int, count: int) -> ShardRecord | None:
        """Return the record of a finished shard, None where it is not finished."""
        name = shard_name(number, count)
        if not self.holds(name):
            return None
        with self._open(name) as file:
            record = read_record(file)
        return None if record is None else ShardRecord(number=number, reused=True, **record)

    def manifest(self) -> dict[str, Any] | None:
        """Return what the manifest says, None where there is none."""
        if not self.holds(MANIFEST):
            return None
        with self._open(MANIFEST) as file:
            try:
                manifest = json.loads(file.read())
                return {"sources": list(manifest["sources"]), "job": dict(manifest["job"])}
            except (ValueError, KeyError, TypeError) as error:
                raise MienError(f"{self.path_of(MANIFEST)} is no manifest of mien's.") from error

    def begin(self, job: Mapping[str, Any], sources: Sequence[str]) -> None:
        """Write the manifest, or check that the folder's is of the same job.

        Raises:
            UsageError: the folder was begun with other inputs, another model or other settings.
        """
        manifest = self.manifest()
        if manifest is not None:
            check_same_job(manifest["job"], job, self.folder)
            return
        with self.writing(MANIFEST) as path:
            path.write_text(json.dumps({"sources": list(sources), "job": job}, indent=2) + "\n", encoding="utf-8")

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[Any]:
        path = self.path_of(name)
        try:
            file = open_binary(path)
        except MienError:
            raise
        # Each file system has exceptions of its own.
        except Exception as error:
            raise MienError(f"Cannot read {path}: {reason_of(error)}.") from error
        with file:
            yield file


def check_same_job(there: Mapping[str, Any], job: Mapping[str, Any], folder: str) -> None:
    """Raise `UsageError` unless two jobs are the same; the first difference is named."""
    for key in job:
        if there.get(key) != job[key]:
            if key == "source":
                raise UsageError(f"{folder} was begun with other inputs; choose another --out, or the same inputs.")
            raise UsageError(
                f"{folder} was begun with {key} {there.get(key)!r}, got {job[key]!r}; choose another --out."
            )
