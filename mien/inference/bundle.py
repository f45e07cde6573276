"""A bundle file in, a checked model that turns crops into probabilities out.

One ONNX file is everything: graph, normalisation, tasks, calibration. It is taken from strangers, so it is refused
with one sentence unless graph and metadata agree and it points to no other file.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError
from mien.files import is_file, is_folder
from mien.inference.metadata import INPUT_NAME, METADATA_KEY, BundleError, BundleMetadata, read_metadata
from mien.inference.time_limit import CALL_TIMES, make_within
from mien.onnx.wire import WireError, check_self_contained, keep_outputs, read_properties
from mien.tasks import Task
from mien.vision.decode import read_regular_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: The models that the package brings, and the name of the one that answers where none is named, in float32 and int8.
ASSETS = Path(__file__).parents[1] / "assets"
DEFAULT, DEFAULT_INT8 = "default", "default-int8"
#: So many choices of tasks keep their pruned session ready.
_KEPT_SESSIONS = 4
#: A distribution's sum may be off by this much (8-bit quantised models round).
_SUM_TOLERANCE = 0.05
#: Opening a graph may take so many seconds; a call so many, and so many more a crop, a thousand times what the default
#: model takes.
_OPEN_SECONDS, _CALL_SECONDS, _CROP_SECONDS = 60.0, 30.0, 1.0


class Bundle:
    """A loaded bundle; made by `load_bundle`. Safe to use from several threads at once."""

    def __init__(self, path: Path, model: bytes, metadata: BundleMetadata, threads: int) -> None:
        self.path = path
        self.metadata = metadata
        #: Names the very file: ``default@1a2b3c4d``, the metadata's name and the start of the file's SHA-256.
        self.identifier = f"{metadata.name}@{hashlib.sha256(model).hexdigest()[:8]}"
        self._model = model
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: OrderedDict[tuple[str, ...], InferenceSession] = OrderedDict()
        _check_graph(self._session(metadata.tasks), metadata)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The bundle's tasks, in its order."""
        return self.metadata.tasks

    def run(self, crops: NDArray[np.uint8], tasks: tuple[Task, ...] | None = None) -> dict[str, NDArray[np.float32]]:
        """Probabilities per task: float32, N x classes or N x levels, rows that sum to 1.

        Args:
            crops: uint8, N x 3 x S x S, RGB, values 0-255, S = ``metadata.size``. N may be 0.
            tasks: those to answer, from ``self.tasks``; the heads of the others are not run. None means all.

        Raises:
            BundleError: the graph fails, takes more than half a minute and a second a crop, or gives anything but
                finite probabilities.
        """
        tasks, size = self.tasks if tasks is None else tasks, self.metadata.size
        if crops.dtype != np.uint8 or crops.shape[1:] != (3, size, size):
            raise ValueError(f"Crops must be uint8, N x 3 x {size} x {size}, got {crops.dtype} {crops.shape}.")
        if len(crops) == 0:
            return {task.name: np.zeros((0, task.n_outputs), np.float32) for task in tasks}
        names, seconds = [task.name for task in tasks], _CALL_SECONDS + _CROP_SECONDS * len(crops)
        with CALL_TIMES.limited(seconds) as options:
            try:
                outputs = self._session(tasks).run(names, {INPUT_NAME: crops}, options)
            # ONNX Runtime's exceptions share no base class but Exception.
            except Exception as error:
                reason = f"no answer within {seconds:.0f} seconds." if options.terminate else _first_line(error)
                raise BundleError(f"The model {self.identifier} failed on {len(crops)} crops: {reason}") from error
        return {task.name: self._checked(task, value, len(crops)) for task, value in zip(tasks, outputs, strict=True)}

    def _session(self, tasks: tuple[Task, ...]) -> InferenceSession:
        """The session that runs these tasks' heads and no others."""
        names = tuple(task.name for task in self.tasks if task in tasks)
        with self._lock:
            if names not in self._sessions:
                whole = len(names) == len(self.tasks)
                self._sessions[names] = _open_session(
                    self._model if whole else keep_outputs(self._model, names), self._threads
                )
                if len(self._sessions) > _KEPT_SESSIONS:
                    self._sessions.popitem(last=False)
            self._sessions.move_to_end(names)
            return self._sessions[names]

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


def load_bundle(path: Path | str | None = None, *, threads: int | None = None) -> Bundle:
    """Load and check a bundle.

    Args:
        path: the ``.onnx`` file, or the name of a model that the package brings (`bundled_names`); None is its default
            (`default_bundle`).
        threads: processor cores for one call of `Bundle.run`. The default is 1, because `predict_images` runs several
            calls side by side.

    Raises:
        BundleError: not there, not ONNX, not self-contained, without metadata, or metadata and graph disagree.

    >>> load_bundle().metadata.name  # doctest: +SKIP
    'default'
    """
    if path is None and not default_bundle().is_file():
        raise BundleError("This installation holds no default model; name one with --model FILE.onnx.")
    path = find_bundle(path)
    try:
        model = read_regular_file(path)
        check_self_contained(model)
        properties = read_properties(model)
    except MienError as error:
        known = "" if _exists(path) else f" The package brings {', '.join(bundled_names()) or 'none'}."
        raise BundleError(f"Cannot load the model {path}: {error}{known}") from error
    except WireError as error:
        raise BundleError(f"{path} is no model bundle: {error}.") from error
    if METADATA_KEY not in properties:
        raise BundleError(f"{path} is no mien bundle: its ONNX metadata lacks the key {METADATA_KEY!r}.")
    try:
        return Bundle(path, model, read_metadata(properties[METADATA_KEY]), threads or 1)
    except BundleError as error:
        raise BundleError(f"Cannot use the model {path}: {error}") from error


def bundled_names() -> list[str]:
    """Names of the models that the package brings, its default first."""
    names = sorted(path.stem for path in ASSETS.glob("*.onnx"))
    return sorted(names, key=lambda name: name != DEFAULT)


def default_bundle() -> Path:
    """The file that answers where no model is named: of the default model's two forms, which answer alike to within
    what export allows, the faster one on this processor. It need not be there."""
    int8 = ASSETS / f"{DEFAULT_INT8}.onnx"
    return int8 if multiplies_int8() and int8.is_file() else ASSETS / f"{DEFAULT}.onnx"


def find_bundle(path: Path | str | None) -> Path:
    """The file that ``path`` means: itself, or the bundled model of that name where no such file is there."""
    if path is None:
        return default_bundle()
    path = Path(path)
    if not path.suffix and not _exists(path) and str(path) in bundled_names():
        return ASSETS / f"{path}.onnx"
    return path


def _exists(path: Path) -> bool:
    return is_file(path) or is_folder(path)


@cache
def multiplies_int8() -> bool:
    """Whether this processor multiplies bytes into 32 bits at once (VNNI or AMX; ARM's dot products): int8 models are
    exact and fast there. False where it cannot be told."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(re.search(rf"\b{flag}\b", flags) for flag in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))


def _open_session(model: bytes, threads: int) -> InferenceSession:
    """The one place where a bundle's session is made: on the CPU, quiet, from bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not multiplies_int8():
        # Else int8 products may overflow 16 bits, and answers would differ from those checked; this is slower.
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return make_within(
            _OPEN_SECONDS, lambda: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        )
    except TimeoutError as error:
        raise BundleError(f"ONNX Runtime did not open its graph within {_OPEN_SECONDS:.0f} seconds.") from error
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        raise BundleError(f"ONNX Runtime refuses its graph: {_first_line(error)}") from error


def _check_graph(session: InferenceSession, metadata: BundleMetadata) -> None:
    """Raise `BundleError` unless inputs and outputs are those that the metadata promises."""
    size = metadata.size
    inputs = [(value.name, value.type, _shape(value)) for value in session.get_inputs()]
    if inputs != [(INPUT_NAME, "tensor(uint8)", ("N", 3, size, size))]:
        raise BundleError(
            f"its one input must be {INPUT_NAME!r}, tensor(uint8), N x 3 x {size} x {size}; got {inputs}."
        )
    outputs = {value.name: (value.type, _shape(value)) for value in session.get_outputs()}
    expected = {task.name: ("tensor(float)", ("N", task.n_outputs)) for task in metadata.tasks}
    if outputs != expected:
        raise BundleError(f"its outputs must be {expected}; got {outputs}.")


def _shape(value: Any) -> tuple[object, ...]:
    """The declared shape; a free first dimension is called N whatever the graph calls it."""
    shape = list(value.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = "N"
    return tuple(shape)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
