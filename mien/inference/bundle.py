"""Load a bundle, check it, and run it on crops.

A bundle is one ONNX file with graph, normalisation, tasks and calibration. It may come from anyone, so it is refused
with one sentence unless graph and metadata agree and it points to no other file.
"""

from __future__ import annotations

import hashlib
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.files import is_file, is_folder
from mien.inference.hub import download, hub_address
from mien.inference.metadata import INPUT_NAME, METADATA_KEY, BundleError, BundleMetadata, read_metadata
from mien.onnx.checks import check_self_contained, fits_16_bits, read_properties
from mien.onnx.providers import AUTO, CPU, ProviderError, check_provider
from mien.onnx.schema import ModelError, parse_model
from mien.onnx.sessions import ForkedError, Session, open_session
from mien.tasks import Task
from mien.vision.decode import read_regular_file

#: The folder of the bundled models, and the name of the default one, in float32 and in 8 bits.
ASSETS = Path(__file__).parents[1] / "assets"
DEFAULT, DEFAULT_INT8 = "default", "default-int8"
#: A distribution's sum may be off by this much (8-bit quantised models round).
_SUM_TOLERANCE = 0.05
#: Probabilities of another execution provider may differ from the processor's by this much.
_PROVIDER_TOLERANCE = 0.02
#: Opening a graph may take so many seconds; a call so many, and so many more a crop, a thousand times what the default
#: model takes.
_OPEN_SECONDS, _CALL_SECONDS, _CROP_SECONDS = 60.0, 30.0, 1.0


class Bundle:
    """A loaded bundle; made by `load_bundle`. Threads may share it. It can be pickled, and is then loaded again."""

    def __init__(self, path: Path, model: bytes, metadata: BundleMetadata, threads: int, provider: str) -> None:
        self.path = path
        self.metadata = metadata
        #: Names the very file: ``default@1a2b3c4d``, the metadata's name and the start of the file's SHA-256.
        self.identifier = f"{metadata.name}@{hashlib.sha256(model).hexdigest()[:8]}"
        self._threads = threads
        #: The execution provider, a name of `mien.onnx.providers.PROVIDERS`.
        self.provider = provider
        self._session = _open(model, threads, provider)
        _check_graph(self._session, metadata)
        if provider != CPU:
            self._check_parity(_open(model, threads, CPU))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path: a bundle is loaded again where it is unpickled, and refused if the file has changed."""
        return _load_again, (self.path, self._threads, self.identifier, self.provider)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The bundle's tasks, in its order."""
        return self.metadata.tasks

    def run(self, crops: NDArray[np.uint8], tasks: tuple[Task, ...] | None = None) -> dict[str, NDArray[np.float32]]:
        """Probabilities per task: float32, N x classes or N x levels, rows that sum to 1.

        Args:
            crops: uint8, N x 3 x S x S, RGB, values 0-255, S = ``metadata.size``. N may be 0.
            tasks: the tasks whose probabilities are returned, from ``self.tasks``. None means all.

        Raises:
            BundleError: the graph fails, takes more than 30 seconds plus one a crop, or gives anything but finite
                probabilities; or the process was forked after the bundle was loaded.
        """
        tasks, size = self.tasks if tasks is None else tasks, self.metadata.size
        if crops.dtype != np.uint8 or crops.shape[1:] != (3, size, size):
            raise ValueError(f"Crops must be uint8, N x 3 x {size} x {size}, got {crops.dtype} {crops.shape}.")
        if len(crops) == 0:
            return {task.name: np.zeros((0, task.n_outputs), np.float32) for task in tasks}
        names, seconds = [task.name for task in tasks], _CALL_SECONDS + _CROP_SECONDS * len(crops)
        try:
            outputs = self._session.run(names, {INPUT_NAME: crops}, seconds=seconds)
        except ForkedError as error:
            raise BundleError(f"The model {self.identifier} must be loaded in this process: {error}.") from error
        # ONNX Runtime's exceptions share no base class but Exception.
        except Exception as error:
            raise BundleError(
                f"The model {self.identifier} failed on {len(crops)} crops: {_printable(error)}."
            ) from error
        return {task.name: self._checked(task, value, len(crops)) for task, value in zip(tasks, outputs, strict=True)}

    def _check_parity(self, processor: Session) -> None:
        """Raise `BundleError` unless the provider predicts what the processor predicts, on generated crops."""
        size, generator = self.metadata.size, np.random.default_rng(0)
        coarse = generator.integers(0, 256, (4, 3, 6, 6)).astype(np.float32)
        crops = np.repeat(np.repeat(coarse, -(-size // 6), axis=2), -(-size // 6), axis=3)[:, :, :size, :size]
        crops = np.clip(crops + generator.normal(0, 8, crops.shape), 0, 255)
        faces, names = crops.astype(np.uint8), [task.name for task in self.tasks]
        expected = dict(zip(names, processor.run(names, {INPUT_NAME: faces}, seconds=_CALL_SECONDS), strict=True))
        off = max(float(np.abs(values - expected[name]).max()) for name, values in self.run(faces).items())
        if off > _PROVIDER_TOLERANCE:
            raise BundleError(
                f"on the provider {self.provider!r} its probabilities differ from the processor's by {off:.3f}, "
                f"more than {_PROVIDER_TOLERANCE}"
            )

    def _checked(self, task: Task, value: Any, rows: int) -> NDArray[np.float32]:
        probabilities = np.asarray(value)
        if probabilities.dtype != np.float32 or probabilities.shape != (rows, task.n_outputs):
            raise BundleError(
                f"The model {self.identifier} must give float32 {rows} x {task.n_outputs} for {task.name!r}, "
                f"got {probabilities.dtype} {probabilities.shape}."
            )
        if not np.isfinite(probabilities).all():
            raise BundleError(f"The model {self.identifier} gave numbers that are not finite for {task.name!r}.")
        if probabilities.min() < -1e-6 or np.abs(probabilities.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
            raise BundleError(
                f"The model {self.identifier} must give probabilities that sum to 1 for {task.name!r}, got "
                f"sums from {probabilities.sum(axis=1).min():.3g} to {probabilities.sum(axis=1).max():.3g} "
                f"and a least value of {probabilities.min():.3g}."
            )
        return probabilities


def load_bundle(path: Path | str | None = None, *, threads: int | None = None, provider: str = CPU) -> Bundle:
    """Load and check a bundle.

    Args:
        path: the ``.onnx`` file, the name of a bundled model (`bundled_names`), or ``hf://user/name`` with
            ``@revision`` and ``#sha256=HEX`` as wanted (`mien.inference.hub`); None is the default model
            (`default_bundle`).
        threads: processor cores for one call of `Bundle.run`. The default is 1, because `predict_images` runs several
            calls side by side.
        provider: what computes the graph, a name of `mien.onnx.providers.PROVIDERS`, or ``auto`` for the first
            accelerator that starts, else the processor.

    Raises:
        UsageError, ProviderError: there is no such provider, or not here.
        MissingExtraError: an address of the Hub, and huggingface_hub is not installed.
        BundleError: not there, not ONNX, not self-contained, without metadata, or metadata and graph disagree.

    >>> load_bundle().metadata.name  # doctest: +SKIP
    'default'
    """
    if path is None and not default_bundle().is_file():
        raise BundleError("This installation holds no default model; name one with --model FILE.onnx.")
    path = find_bundle(path)
    try:
        model = read_regular_file(path)
        parsed = parse_model(model)
        check_self_contained(parsed)
        properties = read_properties(parsed)
    except ModelError as error:
        raise BundleError(f"{path} is no model bundle: {error}.") from error
    except MienError as error:
        known = "" if _exists(path) else f" The bundled models are {', '.join(bundled_names()) or 'none'}."
        raise BundleError(f"Cannot load the model {path}: {error}{known}") from error
    if METADATA_KEY not in properties:
        raise BundleError(f"{path} is no mien bundle: its ONNX metadata lacks the key {METADATA_KEY!r}.")
    chosen = check_provider(provider)
    try:
        metadata = read_metadata(properties[METADATA_KEY])
        try:
            return Bundle(path, model, metadata, threads or 1, chosen)
        except ProviderError as error:
            if provider != AUTO:
                raise ProviderError(f"Cannot use the model {path}: {error}.") from error
        return Bundle(path, model, metadata, threads or 1, CPU)
    except (BundleError, UnicodeDecodeError) as error:  # ONNX Runtime decodes names when they are asked for.
        raise BundleError(f"Cannot use the model {path}: {_printable(error)}.") from error


def bundled_names() -> list[str]:
    """Return the names of the bundled models, the default first."""
    names = sorted(path.stem for path in ASSETS.glob("*.onnx"))
    return sorted(names, key=lambda name: name != DEFAULT)


def default_bundle() -> Path:
    """Return the file of the default model in the form, float32 or 8 bits, that is faster on this processor. Their
    predictions differ by no more than export allows. The file need not exist."""
    int8 = ASSETS / f"{DEFAULT_INT8}.onnx"
    return int8 if is_fast_in_int8() and int8.is_file() else ASSETS / f"{DEFAULT}.onnx"


def find_bundle(path: Path | str | None) -> Path:
    """Return the file that ``path`` means: a name without suffix and separator is a bundled model, if there is one.

    An address of the Hugging Face Hub is downloaded to its cache, with the errors of `mien.inference.hub.download`.
    """
    if path is None:
        return default_bundle()
    if (address := hub_address(path)) is not None:
        return download(address)
    path = Path(path)
    if str(path) in bundled_names():
        return ASSETS / f"{path}.onnx"
    return path


def _exists(path: Path) -> bool:
    return is_file(path) or is_folder(path)


def is_fast_in_int8() -> bool:
    """Return whether 8 bits are faster than float32 here: on x86-64 (0.6 of the time with AVX2 alone, less with VNNI),
    and wherever `multiplies_int8`."""
    return platform.machine().lower() in ("x86_64", "amd64") or multiplies_int8()


@cache
def multiplies_int8() -> bool:
    """Return whether this processor multiplies bytes into 32 bits at once (VNNI or AMX; ARM's dot products): int8
    models are exact and fast there. False where that is unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(re.search(rf"\b{flag}\b", flags) for flag in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))


def _open(model: bytes, threads: int, provider: str) -> Session:
    """Open the session of a bundle; give up after `_OPEN_SECONDS`."""
    try:
        # Where 8-bit products may overflow 16 bits, predictions would differ from those that were checked.
        exact = not (multiplies_int8() or fits_16_bits(parse_model(model)))
        return open_session(model, threads=threads, exact_int8=exact, seconds=_OPEN_SECONDS, provider=provider)
    except ProviderError:
        raise
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise BundleError(f"ONNX Runtime refuses its graph: {_printable(error)}.") from error


def _load_again(path: Path, threads: int, identifier: str, provider: str = CPU) -> Bundle:
    """Load a bundle that was pickled; see `Bundle.__reduce__`."""
    bundle = load_bundle(path, threads=threads, provider=provider)
    if bundle.identifier != identifier:
        raise BundleError(f"{path} is {bundle.identifier} now; {identifier} was expected.")
    return bundle


def _check_graph(session: Session, metadata: BundleMetadata) -> None:
    """Raise `BundleError` unless inputs and outputs are those that the metadata promises."""
    size = metadata.size
    inputs = [(value.name, value.type, _shape(value)) for value in session.inputs]
    if inputs != [(INPUT_NAME, "tensor(uint8)", ("N", 3, size, size))]:
        raise BundleError(
            f"its one input must be {INPUT_NAME!r}, tensor(uint8), N x 3 x {size} x {size}; got {inputs}."
        )
    outputs = {value.name: (value.type, _shape(value)) for value in session.outputs}
    expected = {task.name: ("tensor(float)", ("N", task.n_outputs)) for task in metadata.tasks}
    if outputs != expected:
        raise BundleError(f"its outputs must be {expected}; got {outputs}.")


def _shape(value: Any) -> tuple[object, ...]:
    """Return the declared shape; a free first dimension is called N whatever the graph calls it."""
    shape = list(value.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = "N"
    return tuple(shape)


def _printable(error: Exception) -> str:
    """Return an error's first line without its full stop; an untrusted bundle may make it long or full of controls."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    line = "".join(character if character.isprintable() else "?" for character in line).rstrip(". ")
    return line if len(line) <= 500 else f"{line[:500]} (shortened)"
