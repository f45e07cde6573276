"""Measure bundles: latency, throughput and memory for each batch size and number of threads.

Every configuration lives in a process of its own, so that its memory is its own; the processes take turns, one at a
time, round after round, so that a machine that gets busier or hotter meanwhile slows all of them alike.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError, UsageError
from mien.inference.bundle import Bundle, find_bundle, load_bundle
from mien.onnx.providers import CPU
from mien.onnx.schema import parse_model
from mien.progress import track
from mien.tasks import MOST_LEVEL
from mien.vision.decode import read_regular_file

BATCHES, THREADS, SECONDS = (1, 8, 32), (1, 2), 3.0
#: Turns of each configuration; its seconds are divided among them.
ROUNDS = 5
#: Calls before the first turn, in which ONNX Runtime plans its memory; one more goes before each turn.
WARM_UP_CALLS = 3
SEED = 0
MOST_FACES, MOST_THREADS = 4096, 256
#: Operators of which a quantised graph has some.
_INT8_OPERATORS = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger"})
#: Seconds that a process may take to answer, beyond those that it was given.
_PATIENCE = 600.0


@dataclass(frozen=True, kw_only=True)
class BenchedModel:
    """A bundle's facts. ``figures``: of each task the test split's ``mae`` or ``accuracy``, as its metadata say."""

    path: Path
    label: str
    identifier: str
    precision: str
    megabytes: float
    size: int
    provider: str
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What is measured: a model at a batch size and a number of threads."""

    model: BenchedModel
    batch: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Times are those of one call with the whole batch, in milliseconds; ``round_medians`` shows the drift.

    ``peak_megabytes``: how much the process grew at most after its imports; None where the system does not tell.
    """

    configuration: Configuration
    calls: int
    median: float
    p95: float
    faces_per_second: float
    round_medians: tuple[float, ...]
    peak_megabytes: float | None


def describe_models(paths: Sequence[Path | None], provider: str = CPU) -> list[BenchedModel]:
    """Load, check and describe the bundles, None is the package's own; `BundleError` where one cannot be used.

    ``provider`` is that of `load_bundle`.
    """
    files = [find_bundle(path) for path in paths]
    names = [file.name for file in files]
    labels = [file.name if names.count(file.name) == 1 else str(file) for file in files]
    return [
        _describe(file, load_bundle(path, provider=provider), label)
        for file, path, label in zip(files, paths, labels, strict=True)
    ]


def _describe(file: Path, bundle: Bundle, label: str) -> BenchedModel:
    content = read_regular_file(file)
    return BenchedModel(
        path=file,
        label=label,
        identifier=bundle.identifier,
        provider=bundle.provider,
        precision=precision_of(content),
        megabytes=len(content) / 1e6,
        size=bundle.metadata.size,
        figures=_figures(bundle),
    )


def precision_of(model: bytes) -> str:
    """Return ``int8`` where the graph quantises anything, else ``fp32``; from the bytes of an ONNX file."""
    operators = {node.op_type.decode("utf-8", "replace") for node in parse_model(model).graph.node}
    return "int8" if operators & _INT8_OPERATORS else "fp32"


def _figures(bundle: Bundle) -> dict[str, float]:
    """``{"age mae": 4.78}``; the metrics of an untrusted bundle may be any JSON; what is not a number is left out."""
    tasks = _mapping(bundle.metadata.metrics.get("tasks"))
    found = {}
    for task in bundle.tasks:
        for name in ("mae", "accuracy"):
            value = _mapping(_mapping(tasks.get(task.name)).get(name)).get("value")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST_LEVEL:
                found[f"{task.name} {name}"] = float(value)
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def measure(
    models: Sequence[BenchedModel],
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = THREADS,
    seconds: float = SECONDS,
) -> list[Measurement]:
    """Measure every model at every batch size and number of threads, about ``seconds`` each.

    Raises:
        UsageError: a number is out of range.
        MienError: a model failed, or its process died.
    """
    _check_range("batch size", batches, MOST_FACES)
    _check_range("number of threads", threads, MOST_THREADS)
    if not 0 < seconds <= 3600:
        raise UsageError(f"The seconds of a configuration must be above 0 and at most 3600, got {seconds:g}.")
    configurations = [
        Configuration(model=model, batch=batch, threads=count)
        for model in models
        for batch in batches
        for count in threads
    ]
    with ExitStack() as stack:
        arms = [stack.enter_context(_arm(configuration)) for configuration in configurations]
        turns = [arm for _ in range(ROUNDS) for arm in arms]
        for arm in track(turns, "measuring", unit="turns"):
            arm.rounds.append(arm.ask(seconds / ROUNDS))
        return [_summary(arm.configuration, arm.rounds, arm.ask(None)) for arm in arms]


def _check_range(what: str, values: Sequence[int], most: int) -> None:
    wrong = [value for value in values if not 1 <= value <= most]
    if wrong or not values:
        raise UsageError(f"A {what} must be a whole number from 1 to {most}, got {wrong[0] if wrong else 'none'}.")


def _summary(configuration: Configuration, rounds: Sequence[NDArray[np.float64]], peak: float | None) -> Measurement:
    """Return the figures of one configuration from the seconds of its calls, an array a round."""
    calls = np.concatenate(rounds)
    return Measurement(
        configuration=configuration,
        calls=len(calls),
        median=1e3 * float(np.median(calls)),
        p95=1e3 * float(np.percentile(calls, 95)),
        faces_per_second=configuration.batch * len(calls) / float(calls.sum()),
        round_medians=tuple(1e3 * float(np.median(one)) for one in rounds),
        peak_megabytes=peak,
    )


class _Arm:
    """A configuration and the process that runs it."""

    def __init__(self, configuration: Configuration, process: Any, connection: Connection) -> None:
        self.configuration = configuration
        self.rounds: list[NDArray[np.float64]] = []
        self._process, self._connection = process, connection

    def ask(self, seconds: float | None) -> Any:
        """Send a request (`_serve` says which) and give its answer; `MienError` where the process failed."""
        try:
            self._connection.send(seconds)
        except OSError as error:
            raise self._ended() from error
        return self.answer(seconds or 0.0)

    def answer(self, seconds: float = 0.0) -> Any:
        """Return the process's next answer, which may take so many seconds more than an answer needs."""
        try:
            if not self._connection.poll(seconds + _PATIENCE):
                raise MienError(f"Measuring {self._name} gave no answer for {seconds + _PATIENCE:.0f} seconds.")
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(answer, str):
            raise MienError(f"Measuring {self._name} failed: {answer}")
        return answer

    @property
    def _name(self) -> str:
        about = self.configuration
        return f"{about.model.label} at batch size {about.batch}, threads {about.threads},"

    def _ended(self) -> MienError:
        self._process.join(5)
        return MienError(f"Measuring {self._name} failed: its process ended with exit code {self._process.exitcode}.")


@contextmanager
def _arm(configuration: Configuration) -> Iterator[_Arm]:
    """A configuration's process, its model loaded; it ends with the context."""
    # A forked process would share its parent's memory, so that neither's size would mean anything.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (
        theirs,
        configuration.model.path,
        configuration.batch,
        configuration.threads,
        configuration.model.provider,
    )
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        arm = _Arm(configuration, process, ours)
        arm.answer()  # "Ready": so processes load one after the other.
        yield arm
    finally:
        ours.close()
        process.terminate()
        process.join()


def _serve(connection: Connection, path: Path, batch: int, threads: int, provider: str) -> None:
    """What a configuration's process does: a number asks for calls of so many seconds, None for the peak memory.

    Errors are answered as text. The process ends when the other end of the connection is closed.
    """
    # On Ctrl-C the process that asks decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import onnxruntime  # noqa: F401  Imported before the memory is read, which should be the model's alone.

        before = peak_memory()
        bundle = load_bundle(path, threads=threads, provider=provider)
        size = bundle.metadata.size
        crops = np.random.default_rng(SEED).integers(0, 256, (batch, 3, size, size), np.uint8)
        for _ in range(WARM_UP_CALLS):
            bundle.run(crops)
        connection.send(True)
        while True:
            seconds = connection.recv()
            connection.send(_grown(before) if seconds is None else _timed_calls(bundle, crops, seconds))
    except EOFError:
        return
    except (MienError, MemoryError) as error:
        connection.send(str(error) or "out of memory")


def _timed_calls(bundle: Bundle, crops: NDArray[np.uint8], seconds: float) -> NDArray[np.float64]:
    """Seconds of each call, one or more, until so many have passed; one call goes before, to warm up."""
    bundle.run(crops)
    calls: list[float] = []
    begun = time.perf_counter()
    while not calls or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        bundle.run(crops)
        calls.append(time.perf_counter() - start)
    return np.array(calls)


def _grown(before: float | None) -> float | None:
    now = peak_memory()
    return None if before is None or now is None else max(now - before, 0.0)


def peak_memory() -> float | None:
    """Return the greatest resident set of this process so far, in megabytes; None where the system does not tell.

    On Linux from ``VmHWM``: ``ru_maxrss``, used elsewhere, would start from the size of the parent process there.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8", errors="replace").splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
